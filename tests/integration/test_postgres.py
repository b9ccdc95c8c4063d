"""The embedded PostgreSQL: whoever runs it, it starts, keeps its data to itself, and leaves nothing behind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from switchtower.errors import ConfigurationError
from tests.support.wait import until
from workers import postgres as embedded
from workers.postgres import postgres, secret

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="another user's server runs as that user")
KEEP = """
import sys, time
from pathlib import Path
from workers.postgres import postgres
with postgres(Path(sys.argv[1])) as server:
    print(server.process.pid, server.admin_url, flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a server's data, under folders that are closed to everyone else."""
    folder = tmp_path_factory.mktemp("closed", numbered=True) / "postgres"
    folder.parent.chmod(0o700)
    with postgres(folder) as server, psycopg.connect(server.admin_url) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('still here')")
    return folder


def words(url):
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT word FROM kept").fetchall()


def test_data_and_password_outlive_the_server(made):
    with postgres(made) as server:
        assert words(server.admin_url) == [("still here",)]
        assert secret(made, embedded.ADMIN) in server.admin_url
    assert server.process.returncode == 0


def test_only_the_loopback_is_listened_on_and_only_with_the_password(made):
    with postgres(made) as server:
        with psycopg.connect(server.admin_url) as connection:
            shown = [connection.execute(f"SHOW {name}").fetchone()[0] for name in embedded._SETTINGS]
        assert shown[:2] == ["127.0.0.1", ""]
        for wrong in (server.url(embedded.ADMIN, "guess"), server.url(embedded.ADMIN, "")):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(wrong)


def test_nobody_else_may_read_what_lies_in_the_folder(made):
    assert stat.S_IMODE((made / "passwords.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((made / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_the_log_repeats_neither_statements_nor_rows(made):
    with postgres(made) as server, psycopg.connect(server.admin_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS one (word text UNIQUE)")
        for _ in range(2):
            try:
                connection.execute("INSERT INTO one VALUES ('Rumpelstilzchen')")
            except psycopg.errors.UniqueViolation:
                failed = True
    assert failed
    log = (made / "server.log").read_text()
    assert "duplicate key" in log
    assert "Rumpelstilzchen" not in log


@ROOT_ONLY
def test_for_root_it_runs_as_nobody_and_no_folder_above_is_opened(made):
    with postgres(made) as server:
        assert Path(f"/proc/{server.process.pid}").stat().st_uid == (made / "data").stat().st_uid != 0
    assert made.stat().st_uid == 0
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700


@ROOT_ONLY
def test_for_root_binaries_that_nobody_can_reach_are_run_from_a_copy(made, monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "_open_to_all", lambda _path: False)
    monkeypatch.setattr("tempfile.tempdir", None)
    with postgres(made) as server:
        binary = Path(f"/proc/{server.process.pid}/exe").readlink()
        assert binary.parts[2].startswith("switchtower-postgres-")
        assert words(server.admin_url) == [("still here",)]
    assert not binary.exists()


def test_the_server_of_a_killed_parent_gives_its_data_to_the_next_one(made):
    parent = subprocess.Popen([sys.executable, "-c", KEEP, str(made)], stdout=subprocess.PIPE, text=True)
    pid, url = parent.stdout.readline().split()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert words(url) == [("still here",)], "the orphan lives on"
    with postgres(made) as server:
        assert server.process.pid != int(pid)
        until(lambda: not Path(f"/proc/{pid}/cwd").is_symlink(), "the orphan's end")
        assert words(server.admin_url) == [("still here",)]


def test_a_stranger_who_has_the_orphans_number_is_left_alone(made):
    stranger = subprocess.Popen(["sleep", "60"])
    (made / "data" / "postmaster.pid").write_text(f"{stranger.pid}\n" + "\n" * 6 + "ready\n")
    try:
        embedded._end_orphan(made / "data")
        assert stranger.poll() is None
    finally:
        (made / "data" / "postmaster.pid").unlink()
        stranger.kill()
        stranger.wait()


def test_what_keeps_it_from_starting_is_said(made):
    settings = made / "data" / "postgresql.conf"
    before = settings.read_text()
    settings.write_text(before + "\nno_such_setting = 1\n")
    try:
        with pytest.raises(ConfigurationError, match=r"does not start.*server\.log.*no_such_setting"), postgres(made):
            pass
    finally:
        settings.write_text(before)


def test_it_stops_while_somebody_is_connected(made):
    with postgres(made) as server:
        connection = psycopg.connect(server.admin_url)
    assert server.process.returncode == 0
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()
