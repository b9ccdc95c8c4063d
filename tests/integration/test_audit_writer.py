"""The auditor at work: nothing lost, nothing doubled, one chain, whatever dies or lies."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from security.audit.commands import app
from security.audit.inbox import WRITER
from security.audit.proof import Walk
from security.audit.queries import Archive
from security.audit.trail import Trail, connect
from switchtower.envelope import Role
from switchtower.jobs import AUDIT
from switchtower.messages import UserRequest
from tests.support.trail import Keys, told
from tests.support.wait import until

SECRET = "Rumpelstilzchen is my name"


def sound(trail):
    """All rows, once the whole proof has passed."""
    with Archive(trail.settings.audit.reader_url) as archive:
        walk = Walk(trail.made.ring, trail.mirror.signed())
        rows = list(walk.along(archive.all()))
    assert walk.flaw is None
    assert not walk.unknown_keys
    return rows


def gaps(rows):
    return [(row.outcome, json.loads(row.facts_text).get("count")) for row in rows if row.topic == "gap"]


def test_every_event_is_written_once_in_its_order(trail):
    events = trail.put(450)
    with trail.writing():
        trail.drained()
    rows = sound(trail)
    assert [row.event for row in rows] == [event.id for event in events]
    assert {row.sealed_by for row in rows} == {"guardrail"}


def test_the_head_is_signed_when_the_auditor_goes(trail):
    trail.written(5)
    assert trail.mirror.latest().mark == trail.rows()[-1].mark
    assert stat.S_IMODE(trail.mirror.path.stat().st_mode) == 0o600


def test_heads_come_by_rows(trail):
    each = trail.settings.model_copy(
        update={"audit": trail.settings.audit.model_copy(update={"batch": 10, "head_rows": 20})}
    )
    trail.put(100)
    with trail.writing(each):
        trail.drained()
    assert [line.head.seq for line in trail.mirror.all()] == [10, 30, 50, 70, 90, 100]


def test_the_same_note_twice_is_one_row(trail):
    note = Keys.note(Keys({role: trail.made.signer(role) for role in (Role.GUARDRAIL,)}), told())
    for _ in range(3):
        trail.raw(note)
    trail.written()
    trail.raw(note)
    assert len(trail.written()) == 1
    sound(trail)


def test_what_nobody_can_believe_is_written_down_and_nothing_stops(trail):
    stranger = Keys()
    trail.put(2)
    trail.raw(stranger.note(told("release", "released"), Role.CONTROLLER))
    trail.raw(b"\xff\xfe\x00" + SECRET.encode())
    trail.raw(UserRequest(prompt=SECRET).model_dump_json())
    trail.made.redis.xadd(AUDIT, {"x": SECRET, "y": "2"})
    trail.put(1, role=Role.GPU, topic="release", outcome="released")
    trail.put(1, role=None, topic="lockdown", outcome="locked")
    trail.put(2)
    trail.written()
    rows = sound(trail)
    found = [(row.topic, row.outcome, row.sealed_by) for row in rows]
    verdict, malformed = ("verdict", "allow", "guardrail"), ("refusal", "malformed", "auditor")
    forged, raised = ("refusal", "forged", "auditor"), ("lockdown", "locked", "nobody")
    assert found == [verdict, verdict, forged, malformed, malformed, malformed, forged, raised, verdict, verdict]
    assert SECRET not in str(rows)


def test_what_postgresql_cannot_store_is_told_of_and_the_rest_of_its_batch_is_written(trail, monkeypatch):
    """The reader refuses what is known to be unstorable; this is the net beneath it."""
    append, bad = Trail.append, []

    def picky(self, head, entries):
        if bad and any(entry.event == bad[0] for entry in entries):
            raise psycopg.DataError
        return append(self, head, entries)

    monkeypatch.setattr(Trail, "append", picky)
    events = trail.put(5)
    bad.append(events[2].id)
    with trail.writing():
        trail.drained()
    rows = sound(trail)
    assert [row.outcome for row in rows] == ["allow", "allow", "malformed", "allow", "allow"]


# -- what was lost on the way ---------------------------------------------------------------------


def test_entries_that_were_trimmed_away_are_counted(trail):
    trail.written(3)
    trail.put(50)
    trail.made.redis.xtrim(AUDIT, maxlen=20, approximate=False)
    trail.written()
    rows = sound(trail)
    assert gaps(rows) == [("lost", 30)]
    assert len(rows) == 3 + 20 + 1
    trail.written(5)
    assert gaps(sound(trail)) == [("lost", 30)]


def test_entries_that_were_lost_before_the_first_auditor_came_are_counted_too(trail):
    trail.put(30)
    trail.made.redis.xtrim(AUDIT, maxlen=0, approximate=False)
    with trail.writing():
        until(lambda: gaps(trail.rows()) == [("lost", 30)], "the gap")
    sound(trail)


@pytest.mark.parametrize(("keys", "outcome"), [([AUDIT], "stream-reset"), ([AUDIT, WRITER], "stream-lost")])
def test_a_stream_that_begins_anew_is_told(trail, keys, outcome):
    trail.written(5)
    trail.put(3)
    trail.made.redis.delete(*keys)
    trail.put(2)
    trail.written()
    rows = sound(trail)
    assert gaps(rows) == [(outcome, None)]
    assert len(rows) == 5 + 2 + 1


# -- whatever dies --------------------------------------------------------------------------------


def test_an_auditor_killed_between_insert_and_acknowledgement_loses_and_doubles_nothing(trail):
    with trail.auditor() as process:
        until(lambda: trail.state == "writing", "an auditor")
        with psycopg.connect(trail.admin_url) as admin:
            admin.execute("LOCK TABLE switchtower.audit IN EXCLUSIVE MODE")
            events = trail.put(40)
            until(lambda: _blocked(trail), "an insert that waits for the lock")
            trail.made.redis.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        until(lambda: len(trail.rows()) == 40, "the rows of the batch")
        process.kill()
        process.wait()
    trail.made.redis.execute_command("CLIENT", "UNPAUSE")
    assert trail.waiting() == 40, "written, and not yet taken from the stream"
    more = trail.put(10)
    trail.written()
    rows = sound(trail)
    assert [row.event for row in rows] == [event.id for event in (*events, *more)]


def _blocked(trail):
    with psycopg.connect(trail.admin_url) as admin:
        found = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
    return found[0]


def test_two_auditors_write_one_chain_and_one_takes_over_when_the_other_dies(trail):
    with trail.auditor() as one, trail.auditor() as other:
        events = trail.put(200)
        trail.drained()
        leader = _leader(trail, one, other)
        leader.kill()
        events += trail.put(200)
        trail.drained()
        assert _leader(trail, one, other) is not leader
    rows = sound(trail)
    assert [row.event for row in rows] == [event.id for event in events]


def _leader(trail, *pair):
    """The one process that holds the lock, by the port of its connection."""
    with psycopg.connect(trail.admin_url) as admin:
        ((port,),) = admin.execute(
            "SELECT client_port FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE locktype = 'advisory'"
        ).fetchall()
    return next(process for process in pair if port in _ports(process.pid))


def _ports(pid):
    """The local ports of a process's connections (proc(5), /proc/net/tcp)."""
    links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.exists() or path.is_symlink()]
    sockets = {link[8:-1] for link in links if link.startswith("socket:")}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(line[1].rpartition(":")[2], 16) for line in lines if line[9] in sockets}


def test_while_postgresql_is_away_events_wait_and_tail_says_so(trail, monkeypatch):
    trail.written(2)
    with trail.writing():
        until(lambda: trail.state == "writing", "an auditor")
        trail.admin("ALTER ROLE switchtower_auditor NOLOGIN")
        try:
            _cut_off(trail)
            trail.put(5)
            until(lambda: trail.state.startswith("waiting (OperationalError"), "the auditor to notice")
            assert trail.waiting() == 5
            said = CliRunner().invoke(app, ["tail"])
            assert "5 events wait; the auditor is waiting (OperationalError" in " ".join(said.stderr.split())
            assert len(said.stdout.splitlines()) == 2
        finally:
            trail.admin("ALTER ROLE switchtower_auditor LOGIN")
        trail.drained()
    assert len(sound(trail)) == 7


def _cut_off(trail):
    trail.admin("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'switchtower_auditor'")


def test_where_no_auditor_runs_tail_says_so(trail):
    trail.put(3)
    assert "3 events wait; no auditor is running" in CliRunner().invoke(app, ["tail"]).stderr


def test_a_table_that_is_not_what_was_signed_is_written_to_no_more(trail):
    trail.written(10)
    trail.admin("DELETE FROM switchtower.audit WHERE seq > 6")
    trail.put(3)
    with trail.writing():
        until(lambda: trail.state.startswith("waiting (AuditBroken: row 10 "), "the auditor to refuse")
        assert trail.waiting() == 3
        trail.mirror.path.rename(trail.mirror.path.with_suffix(".evidence"))
        trail.drained()
    assert gaps(sound(trail)) == [("no-heads", None)]


def test_while_the_mirror_cannot_be_written_nothing_is_taken_from_the_stream(trail):
    trail.mirror.path.mkdir(parents=True)
    trail.put(3)
    with trail.writing():
        until(lambda: trail.state.startswith("waiting (IsADirectoryError"), "the auditor to fail")
        assert trail.waiting() == 3
        trail.mirror.path.rmdir()
        trail.drained()
    assert [row.topic for row in sound(trail) if row.topic != "gap"] == ["verdict"] * 3


def test_rows_that_somebody_else_appends_meanwhile_are_told_of(trail):
    keys = Keys()
    with trail.writing():
        trail.put(3)
        trail.drained()
        with connect(SecretStr(trail.admin_url), "URL") as connection:
            note = keys.note(told("refusal", "planted"), None)
            Trail(connection).append(trail.rows()[-1].mark, [keys.reader().read(note)])
        trail.put(2)
        trail.drained()
    rows = sound(trail)
    assert [row.outcome for row in rows] == ["allow"] * 3 + ["planted", "foreign-rows", "allow", "allow"]


def test_a_table_in_which_no_row_can_follow_ends_in_waiting_and_not_in_a_loop(trail):
    """Somebody has written the last hash into another row, where it may stand only once."""
    rows = trail.written(5)
    with trail.writing():
        until(lambda: trail.state == "writing", "an auditor")
        trail.admin(f"UPDATE switchtower.audit SET prev_hash = '{rows[-1].hash}' WHERE seq = 2")  # noqa: S608
        trail.put(1)
        until(lambda: trail.state.startswith("waiting (UniqueViolation"), "the auditor to wait")
    assert trail.waiting() == 1
