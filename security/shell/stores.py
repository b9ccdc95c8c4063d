"""Databases and stores from the command line: SQL, MongoDB's shell, Redis."""

from __future__ import annotations

import re

from security.shell import dangers
from security.shell.call import Call, sort_options
from security.shell.handlers import handles
from security.shell.marks import open_ended
from security.shell.walker import Walker

# What is open at the end runs to the end, so that one pass does, whatever the text.
_NOISE = re.compile(r"--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*(?:'|\Z)", re.DOTALL)
_START = re.compile(r"(?:explain\s+(?:analyze\s+)?|begin\s*|with\s.*?\)\s*)*", re.IGNORECASE | re.DOTALL)
_DROPS = re.compile(
    r"drop\s+(?:database|schema|table|tablespace|user|role|view|materialized\s+view|index|column|keyspace|collection|"
    r"extension|type|sequence|owned|function|trigger|partition)\b|truncate\b(?!\s*\()|alter\s+table\b.*\bdrop\b"
    r"|(?:delete\s+from|update)\s+(?!.*\bwhere\b)\S|delete\s+from\b.*\bwhere\s+(?:1\s*=\s*1|true|1)\s*$"
    r"|update\b.*\bset\b.*\bwhere\s+(?:1\s*=\s*1|true|1)\s*$",
    re.IGNORECASE | re.DOTALL,
)
_MONGO = re.compile(
    r"\.\s*(?:dropDatabase|drop|dropIndexes|dropUser|dropRole|remove)\s*\(\s*(?:\{\s*\})?\s*[,)]|\.\s*deleteMany\s*\(\s*\{\s*\}"
    r"|getSiblingDB\([^)]*\)\.dropDatabase",
)
_REDIS = re.compile(
    r"\b(?:flushall|flushdb|shutdown|script\s+flush|cluster\s+reset|debug\s+(?:segfault|sleep)|config\s+(?:set\s+dir|resetstat)"
    r"|replicaof|slaveof)\b|\bacl\s+deluser\b",
    re.IGNORECASE,
)
_CLIENTS: dict[str, tuple[str, str]] = {
    # name: options whose value is SQL; further options that take a value
    "psql": ("-c --command", "-h -p -U -d -f -v -o -F -R -P -T -L --host --port --username --dbname --file --set"),
    "mysql": ("-e --execute --init-command", "-h -P -u -D --host --port --user --database"),
    "mariadb": ("-e --execute --init-command", "-h -P -u -D --host --port --user --database"),
    "sqlite3": ("-cmd", "-separator -init"),
    "cockroach": ("-e --execute", "--host --url"),
    "clickhouse-client": ("-q --query", "--host --user --password"),
    "clickhouse": ("-q --query", "--host --user --password"),
    "duckdb": ("-c", ""),
    "sqlcmd": ("-Q -q", "-S -U -P -d"),
    "cqlsh": ("-e --execute", "-u -p -k"),
    "trino": ("--execute", "--server --catalog --schema"),
    "snowsql": ("-q", "-a -u -d"),
    "bq": ("--query", "--project_id"),
    "usql": ("-c", ""),
    "pgcli": ("", "-h -p -U -d"),
    "wrangler": ("--command", ""),
    "supabase": ("", ""),
}


def judge_sql(walker: Walker, command: str, text: str) -> None:
    """Report statements that drop, truncate, or change all rows; `text` may be anything."""
    if len(text) < 10 or not _NOISE.sub("", text).strip():  # noqa: PLR2004 - shorter than `drop x y`
        return
    for statement in _NOISE.sub(" '' ", text).split(";"):
        body = statement.strip()
        start = _START.match(body)
        if _DROPS.match(body, start.end() if start else 0):
            walker.report(dangers.SQL_DROP, command)


@handles(*_CLIENTS)
def _client(walker: Walker, call: Call) -> str | None:
    coded, valued = (frozenset(names.split()) for names in _CLIENTS[call.name])
    options = sort_options(call.words, coded | valued)
    texts = [options.values[flag] for flag in coded & options.values.keys()]
    # mysql's -e and psql's -c may come many times; operands may be SQL too, as sqlite3's are.
    texts += [word for word in call.words if " " in word]
    for text in texts + ([call.stdin] if call.stdin is not None else []):
        judge_sql(walker, call.name, text)
        _judge_escape(walker, text)
    return None


def _judge_escape(walker: Walker, text: str) -> None:
    """psql's `\\!`, mysql's `system` and sqlite's `.shell` run commands."""
    for line in text.splitlines():
        for mark in ("\\!", ".shell ", ".system ", "system "):
            if line.strip().startswith(mark):
                walker.script(line.strip()[len(mark) :])


@handles("mongo", "mongosh")
def _mongo(walker: Walker, call: Call) -> str | None:
    for text in [*call.words, call.stdin or ""]:
        if _MONGO.search(text):
            walker.report(dangers.STORE_WIPE, call.name)
    return None


@handles("redis-cli", "valkey-cli", "keydb-cli")
def _redis(walker: Walker, call: Call) -> str | None:
    for text in (" ".join(call.words), call.stdin or ""):
        if _REDIS.search(text):
            walker.report(dangers.STORE_WIPE, call.name)
    words = {word.lower() for word in call.words}
    if words & {"del", "unlink"} and any(map(open_ended, call.words)):
        walker.report(dangers.DELETE_UNKNOWN, call.name)
    return None
