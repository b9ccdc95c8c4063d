#!/bin/sh
# Make the keys that are missing, and give each role its own key and the ring, and no more.
set -eu
umask 077
switchtower keys create --directory /keys/all
for role in client guardrail router gpu; do
    cp -f "/keys/all/$role.key" "/keys/$role/$role.key"
done
for room in client guardrail router gpu upkeep; do
    cp -f /keys/all/ring.json "/keys/$room/ring.json"
done
