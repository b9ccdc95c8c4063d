"""The trail in PostgreSQL: who may do what with it, and what `audit verify` says to those who did more."""

from __future__ import annotations

import psycopg
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from security.audit.commands import app
from security.audit.rows import COLUMNS
from security.audit.setup import READER, initialise, url_of
from security.audit.trail import Trail, connect
from switchtower.errors import AuditBroken, ConfigurationError
from switchtower.settings import settings
from tests.support.trail import Keys, ground, told
from workers.auditor import audit_tier
from workers.postgres import secret

COUNT = 9


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with ground(tmp_path_factory.mktemp("audit")) as made:
        made.written(COUNT, text_hash="ab" * 32, excerpt="x")
        made.admin("CREATE TABLE kept AS TABLE switchtower.audit")
        yield made


@pytest.fixture
def trail(shared, monkeypatch):
    """Nine rows and their signed head; after the test they are what they were."""
    heads = shared.mirror.path.read_bytes()
    for name, value in audit_tier(shared.settings).items():
        monkeypatch.setenv(f"SWITCHTOWER_AUDIT__{name.upper()}", value)
    monkeypatch.setenv("SWITCHTOWER_HOME", str(shared.settings.home))
    yield shared
    shared.admin("TRUNCATE switchtower.audit", "INSERT INTO switchtower.audit SELECT * FROM kept")
    shared.mirror.path.write_bytes(heads)


def flaw(*words):
    """What a command refused with."""
    settings.cache_clear()
    ended = CliRunner().invoke(app, words or ["verify"]).exception
    settings.cache_clear()
    assert isinstance(ended, AuditBroken | ConfigurationError), ended
    return f"{type(ended).__name__}: {ended}"


def test_what_was_written_is_sound(trail, switchtower):
    run = switchtower("audit", "verify")
    assert (run.code, run.err) == (0, "")
    assert f"sound: {COUNT} rows" in run.out
    assert "not covered" not in run.out


def test_what_was_touched_ends_in_one_line_and_exit_code_1(trail, switchtower):
    trail.admin("UPDATE switchtower.audit SET outcome = 'block' WHERE seq = 7")
    run = switchtower("audit", "verify")
    assert (run.code, run.out) == (1, "")
    assert run.err == "AuditBroken: row 7: its content does not fit its hash (changed: outcome)\n"


# -- what the superuser does to it ----------------------------------------------------------------


@pytest.mark.parametrize("column", [*(name for name in COLUMNS if name != "seq"), "facts"])
def test_one_changed_column_of_one_row_is_named(trail, column):
    number = column in {"at", "written"}
    change = f'"{column}" + 1' if number else f"overlay(\"{column}\" placing 'Z' from 1 for 1)"
    change = "'{\"n\": 5}'" if column == "facts" else change
    trail.admin(f'UPDATE switchtower.audit SET "{column}" = {change} WHERE seq = 5')  # noqa: S608 - our own words
    assert "AuditBroken: row 5: " in flaw()


@pytest.mark.parametrize("seq", [1, 2, 8])
def test_a_deleted_row_is_named(trail, seq):
    trail.admin(f"DELETE FROM switchtower.audit WHERE seq = {seq}")  # noqa: S608 - our own words
    assert f"row {seq}: missing" in flaw()


def test_a_renumbered_row_is_named(trail):
    trail.admin("UPDATE switchtower.audit SET seq = 50 WHERE seq = 3")
    assert "row 3: missing" in flaw()


def test_two_rows_that_changed_places_are_named(trail):
    trail.admin(
        "UPDATE switchtower.audit SET seq = 50 WHERE seq = 3",
        "UPDATE switchtower.audit SET seq = 3 WHERE seq = 6",
        "UPDATE switchtower.audit SET seq = 6 WHERE seq = 50",
    )
    assert "row 3: it does not follow" in flaw()


def test_an_inserted_row_is_named(trail):
    new = {"seq": "10", "hash": "repeat('1', 64)", "note_hash": "repeat('2', 64)", "prev_hash": "hash"}
    names = ", ".join(f'"{name}"' for name in [*COLUMNS, "facts"])
    values = ", ".join(new.get(name, f'"{name}"') for name in [*COLUMNS, "facts"])
    trail.admin(f"INSERT INTO switchtower.audit ({names}) SELECT {values} FROM switchtower.audit WHERE seq = 9")  # noqa: S608 - our own words
    assert "row 10: its content does not fit its hash" in flaw()


def test_an_end_that_was_cut_off_is_named(trail):
    trail.admin("DELETE FROM switchtower.audit WHERE seq > 6")
    assert "row 7: missing: the trail was cut off, the auditor has signed row 9" in flaw()


def test_a_history_rewritten_by_the_rules_contradicts_the_signed_head(trail):
    """Whoever has the table can compute every hash anew; the head in the mirror takes a key."""
    before = trail.rows()[3].mark
    trail.admin("DELETE FROM switchtower.audit WHERE seq > 4")
    reader, keys = Keys().reader(), Keys()
    with connect(SecretStr(trail.admin_url), "URL") as connection:
        notes = [keys.note(told("refusal", "nothing"), None) for _ in range(COUNT)]
        Trail(connection).append(before, [reader.read(note) for note in notes])
    assert "row 9: the auditor signed another row here" in flaw()


def test_a_mirror_with_a_false_line_is_named(trail):
    with trail.mirror.path.open("a") as file:
        file.write("{}\n")
    assert "heads.jsonl:2: not a head that the auditor has signed" in flaw()


def test_without_a_mirror_it_says_what_it_cannot_see(trail, switchtower):
    trail.mirror.path.unlink()
    run = switchtower("audit", "verify")
    assert run.code == 0
    assert "no signed head was found" in run.out


# -- what the roles may do ------------------------------------------------------------------------

CHANGES = (
    "UPDATE switchtower.audit SET topic = 'x'",
    "DELETE FROM switchtower.audit",
    "TRUNCATE switchtower.audit",
    "DROP TABLE switchtower.audit",
    "ALTER TABLE switchtower.audit DISABLE TRIGGER ALL",
    "DROP TRIGGER audit_only_grows ON switchtower.audit",
    "SET session_replication_role = replica",
    "SET ROLE switchtower_owner",
    "CREATE TABLE switchtower.mine (a int)",
)


@pytest.mark.parametrize("statement", CHANGES)
@pytest.mark.parametrize("role", ["url", "reader_url"])
def test_no_role_of_the_line_can_change_or_remove_anything(trail, role, statement):
    with (
        connect(getattr(trail.settings.audit, role), role) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_the_auditor_reads_no_more_than_it_needs_to_go_on(trail):
    with connect(trail.settings.audit.url, "URL") as connection:
        assert connection.execute("SELECT seq, hash, note_hash FROM switchtower.audit WHERE seq = 9").fetchone()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT facts FROM switchtower.audit")


def test_a_reader_adds_nothing(trail):
    with (
        connect(trail.settings.audit.reader_url, "READER_URL") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("INSERT INTO switchtower.audit SELECT * FROM switchtower.audit")


@pytest.mark.parametrize("statement", CHANGES[:3])
def test_by_accident_even_the_superuser_changes_nothing(trail, statement):
    with psycopg.connect(trail.admin_url, autocommit=True) as admin:
        refusal = pytest.raises(psycopg.errors.InsufficientPrivilege, match="only grows")
        with refusal:
            admin.execute(statement)


def test_a_chain_cannot_fork_whoever_writes(trail):
    rows, keys = trail.rows(), Keys()
    with connect(trail.settings.audit.url, "URL") as connection, pytest.raises(psycopg.errors.UniqueViolation):
        Trail(connection).append(rows[4].mark, [keys.reader().read(keys.note(told()))])
    assert trail.rows() == rows


# -- setting up -----------------------------------------------------------------------------------


def test_setting_up_again_changes_nothing(trail, switchtower):
    run = switchtower("audit", "init", "--admin-url", trail.admin_url)
    assert (run.code, run.out) == (0, "")
    assert "its roles keep their passwords" in run.err
    assert switchtower("audit", "verify").code == 0


def test_an_administrator_need_not_be_a_superuser(trail):
    trail.admin(
        "CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'k'",
        "CREATE DATABASE another OWNER keeper",
        "GRANT switchtower_owner, switchtower_auditor, switchtower_reader TO keeper WITH ADMIN OPTION",
    )
    place = trail.admin_url.rpartition("@")[2].replace("/postgres", "/another")
    assert initialise(f"postgresql://keeper:k@{place}") == {}
    reader = url_of(f"postgresql://keeper:k@{place}", READER, secret(trail.settings.home / "postgres", READER))
    with psycopg.connect(reader) as connection:
        assert connection.execute("SELECT count(*) FROM switchtower.audit").fetchone() == (0,)
    trail.admin("DROP DATABASE another")


def test_the_passwords_of_new_roles_are_printed_once(trail, switchtower):
    trail.admin("DROP OWNED BY switchtower_reader", "DROP ROLE switchtower_reader")
    run = switchtower("audit", "init", "--admin-url", trail.admin_url)
    name, _, url = run.out.strip().partition("=")
    assert name == "SWITCHTOWER_AUDIT__READER_URL"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM switchtower.audit").fetchone() == (COUNT,)
    initialise(trail.admin_url, {READER: secret(trail.settings.home / "postgres", READER)})


# -- what is said where something is missing -------------------------------------------------------


@pytest.mark.parametrize("command", [["tail"], ["search"], ["verify"], ["head"], ["export", "-"]])
def test_without_a_setting_a_command_says_which(trail, monkeypatch, command):
    monkeypatch.delenv("SWITCHTOWER_AUDIT__READER_URL")
    assert "ConfigurationError: no audit is configured here; set SWITCHTOWER_AUDIT__READER_URL" in flaw(*command)


def test_a_server_that_is_away_is_an_error_of_ours_without_the_password(trail, monkeypatch):
    monkeypatch.setenv("SWITCHTOWER_AUDIT__READER_URL", "postgresql://someone:hunter2@127.0.0.1:1/none")
    said = flaw()
    assert "ConfigurationError: the audit's PostgreSQL does not answer as it should: OperationalError" in said
    assert "hunter2" not in said


def test_a_database_without_a_trail_says_what_to_do(trail, monkeypatch):
    trail.admin("CREATE DATABASE empty")
    url = trail.settings.audit.reader_url.get_secret_value()
    monkeypatch.setenv("SWITCHTOWER_AUDIT__READER_URL", url.replace("/postgres", "/empty"))
    assert "run `switchtower audit init`" in flaw()
