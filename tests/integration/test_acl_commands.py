"""`switchtower acl`: from a bare server to one on which every role is a user, and back to where somebody meddled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from security.acl.roles import ADMIN, GPU, GUARDRAIL, Line, roles
from tests.support.cli import CommandLine
from workers.embedded import server_class

HERE = Line(extra_queues=("collector",))


@dataclass(frozen=True)
class Site:
    """A server with an ACL file, and the folder of its users' URLs."""

    server: Any
    folder: Path

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self.server.port}/0"

    def user(self, name: str) -> Redis:
        return Redis.from_url((self.folder / f"{name}.url").read_text().strip(), decode_responses=True)

    @property
    def options(self) -> list[str]:
        return ["--directory", str(self.folder), "--queue", "collector"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A server that still lets everybody in."""
    file = tmp_path / "server.acl"
    file.touch()
    server = server_class()(data_dir=tmp_path / "data", aclfile=file)
    server.start()
    yield Site(server, tmp_path / "acl")
    server.stop()


@pytest.fixture
def guarded(site: Site, switchtower: CommandLine) -> Site:
    """The same with its users."""
    assert switchtower("acl", "create", "--url", site.address, *site.options).code == 0
    assert switchtower("acl", "apply", "--url", site.address, *site.options).code == 0
    return site


def test_users_are_made_and_put_on_a_running_server(guarded, switchtower):
    said = switchtower("acl", "check", *guarded.options)
    assert said.code == 0, said.out
    assert f"{len(roles(HERE)) + 1} users are as they should be" in said.out
    with guarded.user(GPU) as gpu, pytest.raises(NoPermissionError):
        gpu.brpop(GUARDRAIL, 1)
    with Redis.from_url(guarded.address) as anybody, pytest.raises(AuthenticationError):
        anybody.ping()


def test_the_server_keeps_its_users_in_its_file(guarded):
    """After its restart they are still there."""
    kept = (guarded.folder.parent / "server.acl").read_text()
    assert {line.split()[1] for line in kept.splitlines()} == {*roles(HERE), ADMIN, "default"}
    assert "user default off" in kept


def test_a_server_takes_the_rendered_file(site, switchtower):
    assert switchtower("acl", "create", "--url", site.address, *site.options).code == 0
    (site.folder.parent / "server.acl").write_text((site.folder / "users.acl").read_text())
    with Redis.from_url(site.address) as anybody:
        anybody.execute_command("ACL LOAD")
    assert switchtower("acl", "check", *site.options).code == 0


def test_render_prints_the_same_file(guarded, switchtower):
    said = switchtower("acl", "render", *guarded.options)
    assert said.out == (guarded.folder / "users.acl").read_text()
    assert " off " in switchtower("acl", "render").out


def test_whoever_meddles_is_found(guarded, switchtower):
    with guarded.user(ADMIN) as admin:
        admin.execute_command("ACL SETUSER", GPU, "+brpop", "~guardrail")
        admin.execute_command("ACL SETUSER", "mallory", "on", "nopass", "+@all", "~*")
        admin.execute_command("ACL DELUSER", "probe")
        admin.execute_command("ACL SETUSER", "default", "on")
    said = switchtower("acl", "check", *guarded.options)
    assert said.code == 1
    for words in ("gpu has other rights", "mallory is not one of ours", "probe is missing", "default is on"):
        assert words in said.out
    assert switchtower("acl", "apply", *guarded.options).code == 0
    assert "mallory" in switchtower("acl", "check", *guarded.options).out


def test_the_backstop_is_set_and_lifted_by_hand(guarded, switchtower):
    assert "on for guardrail, router, gpu" in switchtower("acl", "backstop", "on", *guarded.options).out
    with guarded.user(GUARDRAIL) as worker, pytest.raises(NoPermissionError):
        worker.brpop(GUARDRAIL, 1)
    assert switchtower("acl", "check", *guarded.options).code == 1
    assert switchtower("acl", "backstop", "off", *guarded.options).code == 0
    assert switchtower("acl", "check", *guarded.options).code == 0


def test_what_was_denied_is_shown(guarded, switchtower):
    with guarded.user(GPU) as gpu, pytest.raises(NoPermissionError):
        gpu.flushall()
    said = switchtower("acl", "check", *guarded.options)
    assert said.code == 0
    assert "flushall" in said.out
    assert "denied of late: 1" in said.out


def test_who_may_not_change_users_is_told_so(guarded, switchtower):
    url = (guarded.folder / "gpu.url").read_text().strip()
    said = switchtower("acl", "apply", "--url", url, *guarded.options)
    assert said.code == 1
    assert "BrokerDenied" in said.err


def test_without_passwords_there_is_nothing_to_apply(site, switchtower):
    said = switchtower("acl", "apply", "--url", site.address, *site.options)
    assert said.code == 1
    assert "run `switchtower acl create`" in said.err


def test_an_address_with_a_user_is_refused(site, switchtower):
    said = switchtower("acl", "create", "--url", "redis://me:secret@host:1/0", *site.options)
    assert said.code == 1
    assert "no user" in said.err
    assert "secret" not in said.err
