"""Users and passwords as files: nothing secret but where it must be, and nothing that Redis would read otherwise."""

from __future__ import annotations

import hashlib
import re

import pytest
from redis import Redis

from security.acl import passwords
from security.acl.grants import both, channel, grant, reading, selectors, writing
from security.acl.roles import ADMIN, Line, roles
from security.acl.users import acl_file, users
from switchtower.errors import ConfigurationError

HERE = Line(db=3, extra_queues=("collector",))
NAMES = [user.name for user in users(HERE)]
BASE = "rediss://broker.example:6380/3"


def test_a_grant_is_a_selector():
    one = grant("get mget", reading("a"), writing("b:*"), both("c"), channel("d"))
    assert one.selector == "(+get +mget %R~a %W~b:* ~c &d)"
    assert selectors([one, grant("ping"), one]) == ["(+get +mget %R~a %W~b:* ~c &d)", "(+ping)"]


def test_a_grant_of_commands_with_keys_names_its_keys():
    """A selector without patterns allows its commands on no key at all, and so only those that have none."""
    keyless = {"auth hello ping select multi exec discard unwatch time client|setinfo client|setname", "ping", "info"}
    bare = {" ".join(one.commands) for granted in roles(HERE).values() for one in granted if not one.patterns}
    assert bare == keyless


def test_only_scripts_and_the_administrator_reach_every_key():
    wide = {one.commands for granted in roles(HERE).values() for one in granted if "~*" in one.patterns}
    assert wide == {("eval", "evalsha", "script|load", "script|exists")}
    assert [user.name for user in users(HERE) if "~*" in user.rights] == [ADMIN]


def test_the_file_holds_hashes_and_turns_everybody_else_away(tmp_path):
    known = passwords.create(tmp_path, BASE, NAMES)
    file = acl_file(HERE, known)
    assert file.splitlines()[0] == "user default off resetkeys resetchannels -@all"
    assert not any(password in file for password in known.values())
    for name, password in known.items():
        digest = hashlib.sha256(password.encode()).hexdigest()
        assert re.search(rf"^user {name} on #{digest} ", file, re.MULTILINE), name


def test_without_a_password_nobody_can_log_in():
    lines = acl_file(HERE, {}).splitlines()
    assert [line.split()[2] for line in lines] == ["off"] * len(lines)


def test_the_channels_are_those_of_the_database():
    file = acl_file(HERE, {})
    assert "&/3.celery.pidbox" in file
    assert "&/0." not in file


def test_each_url_stands_in_a_file_of_its_own_that_only_its_owner_reads(tmp_path):
    known = passwords.create(tmp_path / "acl", BASE, NAMES)
    assert len(set(known.values())) == len(NAMES)
    assert (tmp_path / "acl").stat().st_mode & 0o077 == 0
    for name, password in known.items():
        path = passwords.url_file(tmp_path / "acl", name)
        assert path.stat().st_mode & 0o077 == 0
        said = Redis.from_url(path.read_text().strip()).connection_pool.connection_kwargs
        assert (said["username"], said["password"], said["host"], said["db"]) == (name, password, "broker.example", 3)


def test_passwords_stay_when_more_users_or_another_address_come(tmp_path):
    before = passwords.create(tmp_path, "redis://old:1/0", NAMES[:3])
    after = passwords.create(tmp_path, BASE, NAMES)
    assert {name: after[name] for name in before} == before
    assert passwords.read(tmp_path, NAMES) == after
    assert "broker.example" in passwords.url_file(tmp_path, NAMES[0]).read_text()


def test_a_missing_url_is_named(tmp_path):
    passwords.create(tmp_path, BASE, NAMES[:-1])
    with pytest.raises(ConfigurationError, match=NAMES[-1]):
        passwords.read(tmp_path, NAMES)


@pytest.mark.parametrize("content", ["", "redis://host/0", "redis://user@host/0", "redis://[::1/0"])
def test_a_file_that_holds_no_url_with_a_password_is_refused(tmp_path, content):
    passwords.url_file(tmp_path, "gpu").write_text(content)
    with pytest.raises(ConfigurationError, match=r"gpu\.url"):
        passwords.read(tmp_path, ["gpu"])


@pytest.mark.parametrize(
    "base", ["", "host:6379", "http://host", "redis://me@host/0", "redis://:secret@host/0", "redis://"]
)
def test_an_address_that_is_none_is_refused(base):
    with pytest.raises(ConfigurationError, match="address"):
        passwords.url_of(base, "gpu", "secret")


@pytest.mark.parametrize(("url", "number"), [("redis://h", 0), ("redis://h/", 0), ("rediss://h:1/7", 7)])
def test_the_database_stands_in_the_url(url, number):
    assert passwords.database(url) == number


def test_a_database_has_a_number():
    with pytest.raises(ConfigurationError, match="database"):
        passwords.database("redis://h/name")
