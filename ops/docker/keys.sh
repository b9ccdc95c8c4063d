#!/bin/sh
# Make the keys and passwords that are missing, and give each role its own key, its own way to the broker, and the
# ring, and no more.
set -eu
umask 077
switchtower keys create --directory /keys/all
for role in client controller guardrail router gpu; do
    cp -f "/keys/all/$role.key" "/keys/$role/$role.key"
done
for room in client controller guardrail router gpu upkeep; do
    cp -f /keys/all/ring.json "/keys/$room/ring.json"
done
switchtower acl create --directory /keys/all/acl --url redis://redis:6379/0
for room in client controller guardrail router gpu upkeep monitor; do
    cp -f "/keys/all/acl/$room.url" "/keys/$room/broker.url"
done
# The server runs as a user of its own; the file holds hashes of random passwords, and nothing that can be used.
install -m 644 /keys/all/acl/users.acl /acl/users.acl
cp -f /keys/all/acl/probe.url /acl/probe.url
