"""The controllers: what keeps the line open, who takes over, and what locks it when they die or doubt."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from security.lockdown.controller import Controller
from security.lockdown.founding import found
from security.lockdown.memory import Memory, alone, memory_store
from security.lockdown.places import LEADER, controller_folder, operators_folder
from switchtower import keys
from switchtower.envelope import RING, Role
from switchtower.errors import ConfigurationError, ReleaseRefused
from switchtower.jobs import FLAG, FLAG_EPOCH
from switchtower.lease import Flag
from switchtower.settings import Lockdown
from tests.conftest import expect_no_leak
from tests.support.harness import LINE, LOCKDOWN, Harness, controlled, harness
from tests.support.site import Site, frozen
from tests.support.wait import until
from workers.supervisor import worker_command

SHORT = Lockdown(**LOCKDOWN.model_dump() | {"lease_s": 1.5, "renew_s": 0.3})
"""Leases that run out while a test waits."""
LEASE_S = 5
KINDS = ("guardrail", "router", "gpu", "upkeep")


# -- a controller that dies -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """Four workers, and two controllers in processes of their own, with the leases of production."""
    with harness(tmp_path_factory.mktemp("line"), LINE, LOCKDOWN, controller=False) as made:
        made.supervisor.start("controller")
        until(lambda: not made.locked, "the controller to open the line")
        made.start(*KINDS)
        yield made
        expect_no_leak(made)


def start_second(line: Harness) -> None:
    """A second controller: a key of its own in the same ring, a folder of its own, and the same operators."""
    folder, ring = line.settings.home / "second", line.settings.security.keys_directory
    keys.create(folder, [Role.CONTROLLER], ring)
    (folder / RING).write_text((ring / RING).read_text())
    (folder / "controller").mkdir()
    (folder / "controller" / "operators").symlink_to(operators_folder(line.settings))
    variables = {
        "SWITCHTOWER_SECURITY__KEYS_DIRECTORY": str(folder),
        "SWITCHTOWER_LOCKDOWN__DIRECTORY": str(folder / "controller"),
    }
    line.supervisor.start("second", *worker_command("controller"), **variables)


@contextmanager
def watched(line: Harness) -> Iterator[list[str]]:
    """Look at the flag the whole time as a worker does; yields every doubt that came up."""
    site, doubts, over = Site(line.redis, line.settings), [], threading.Event()

    def look():
        flag = Flag(site.ring)
        while not over.wait(0.01):
            if not site.open_to(flag):
                doubts.append(flag.doubt)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield doubts
    finally:
        over.set()
        thread.join()


def said(line, kind, words):
    return (line.settings.home / "logs" / f"{kind}.log").read_text().count(words)


def test_killed_it_locks_every_worker_within_the_lease(line):
    """Nobody raises anything: the lease runs out. The controller that comes back opens what it had open."""
    job = line.client.submit("before")
    assert line.client.result(job, timeout=30).text == "before"
    before = {kind: said(line, kind, "no longer consuming") for kind in KINDS}
    os.kill(line.supervisor.processes["controller"].pid, signal.SIGKILL)
    killed = time.monotonic()
    until(
        lambda: all(said(line, kind, "no longer consuming") > before[kind] for kind in KINDS),
        "every worker to leave its queue",
        seconds=LEASE_S + 5,
    )
    assert time.monotonic() - killed < LEASE_S + 0.5
    assert line.redis.get(FLAG) is None
    line.supervisor.processes["controller"].wait()
    line.supervisor.respawn("controller")
    assert line.client.result(line.client.submit("after"), timeout=30).text == "after"


def test_a_second_one_takes_over_before_the_lease_runs_out(line):
    start_second(line)
    until(lambda: len(Site(line.redis, line.settings).status.standby) == 1, "the second controller to stand by")
    first = line.redis.get(LEADER)
    with watched(line) as doubts:
        os.kill(line.supervisor.processes["controller"].pid, signal.SIGKILL)
        until(lambda: line.redis.get(LEADER) not in (None, first), "the second controller to lead", seconds=4)
        lease = line.redis.get(FLAG)
        until(lambda: line.redis.get(FLAG) != lease, "its first renewal")
    assert doubts == []
    line.supervisor.processes["controller"].wait()
    line.supervisor.respawn("controller")


def test_a_lockdown_and_its_release_are_known_to_both(line):
    """What one controller did, the other one goes on with."""
    site = Site(line.redis, line.settings)
    until(lambda: len(site.status.standby) == 1, "both controllers")
    site.lock()
    line.release()
    epoch = site.status.epoch
    folders = [controller_folder(line.settings), line.settings.home / "second" / "controller"]
    for folder in folders:
        until(lambda folder=folder: memory_store(folder).load().epoch == epoch, "both to have written it down")
        assert memory_store(folder).load().open


def test_ctrl_c_ends_it_in_good_order_and_the_other_one_leads(line):
    until(lambda: len(Site(line.redis, line.settings).status.standby) == 1, "both controllers")
    leader = line.redis.get(LEADER)
    processes = {name: line.supervisor.processes.pop(name) for name in ("controller", "second")}
    name = next(name for name, process in processes.items() if leader.split(" ")[0].endswith(f":{process.pid}"))
    with watched(line) as doubts:
        processes[name].send_signal(signal.SIGINT)
        assert processes[name].wait(10) == 0
        until(lambda: line.redis.get(LEADER) not in (None, leader), "the other one to lead", seconds=2)
    assert doubts == []
    assert "Traceback" not in (line.settings.home / "logs" / f"{name}.log").read_text()
    other = next(process for process in processes.values() if process.poll() is None)
    other.terminate()
    assert other.wait(10) == 0


# -- what is lost, put back, or in the way --------------------------------------------------------


@pytest.fixture
def site(quick_broker_of_module, tmp_path) -> Site:
    """A line that a controller may open, with short leases."""
    return Site.on(quick_broker_of_module, tmp_path, lease_s=1.5, renew_s=0.3)


LOSSES = {
    "the flag is deleted": lambda site: site.redis.delete(FLAG),
    "the epoch is deleted": lambda site: site.redis.delete(FLAG_EPOCH),
    "everything is deleted": lambda site: site.redis.flushall(),
    "the epoch is put back": lambda site: site.redis.set(FLAG_EPOCH, 5),
    "the epoch is set to a time that will never come": lambda site: site.redis.set(FLAG_EPOCH, 2**52),
    "rubbish stands in the flag": lambda site: site.redis.set(FLAG, b"\xff\xfe rubbish"),
    "the flag has another type": lambda site: site.redis.delete(FLAG) and site.redis.lpush(FLAG, "x"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_lost_locks_until_an_operator_releases(site, loss):
    """Also a controller that starts again does not open it, and neither does one that nobody has told anything."""
    ada = site.person("ada")
    with controlled(site.settings):
        before = site.status.epoch
        LOSSES[loss](site)
        until(lambda: site.status.locked and site.status.by == "controller", "the controller to lock the line")
        assert site.audited("lockdown")[-1].outcome == "locked"
    with controlled(site.settings, locked=True):
        assert site.status.locked
        assert site.ask(ada).outcome == "released"
        assert site.status.epoch > before


def test_a_folder_that_knows_nothing_opens_nothing(site, tmp_path):
    with controlled(site.settings):
        assert not site.status.locked
    until(lambda: site.redis.get(FLAG) is None, "the lease to run out")
    stranger = site.with_limits(directory=tmp_path / "new")
    with controlled(stranger.settings, locked=True):
        until(lambda: stranger.status.by == "controller", "the new controller to lock")
        assert "has not seen open" in stranger.status.reason


def test_a_line_that_was_never_opened_waits_for_an_operator(site):
    site.redis.flushall()
    controller_folder(site.settings).joinpath("memory.json").unlink()
    with controlled(site.settings, locked=True):
        until(lambda: "never been opened" in site.status.reason, "the first raise")


def test_an_embedded_system_is_founded_once(site):
    assert not found(site.redis, site.settings, "again")
    site.redis.flushall()
    assert not found(site.redis, site.settings, "again")


def test_a_lease_that_is_put_back_after_a_raise_is_taken_away_again(site):
    with controlled(site.settings):
        kept, epoch = site.redis.get(FLAG), site.redis.get(FLAG_EPOCH)
        site.lock()
        until(lambda: not memory_store(controller_folder(site.settings)).load().open, "the raise to be seen")
        site.redis.mset({FLAG: kept, FLAG_EPOCH: epoch})
        until(lambda: site.status.by == "controller", "the controller to lock again")


def test_a_raise_that_is_taken_back_at_once_is_a_raise(site):
    """Nobody can read it in the flag any more, but it was pushed."""
    with controlled(site.settings):
        kept, epoch = site.redis.get(FLAG), site.redis.get(FLAG_EPOCH)
        with site.redis.pipeline(transaction=True) as pipe:
            pipe.publish("switchtower:lockdown:push", f"locked {int(epoch) + 1}")
            pipe.mset({FLAG: kept, FLAG_EPOCH: epoch})
            pipe.execute()
        until(lambda: "is gone from the flag" in site.status.reason, "the controller to lock")


def test_after_a_broker_that_stood_still_the_line_goes_on(tmp_path):
    """Longer than a lease and than a claim to lead: nobody raised anything, so nobody has to release anything."""
    with harness(tmp_path, LINE, SHORT) as made:
        site, flag = Site(made.redis, made.settings), Flag(made.ring)
        epoch = site.status.epoch
        with frozen(int((made.settings.home / "valkey" / "pid").read_text())):
            threading.Event().wait(2)
        until(lambda: site.open_to(flag), "the line to open again")
        assert site.status.epoch == epoch


# -- trouble of its own ---------------------------------------------------------------------------


def test_a_controller_that_cannot_write_its_file_opens_nothing(site):
    """It could forget the raise that it saw, so it does not even go on with what was open."""
    folder, ada = controller_folder(site.settings), site.person("ada")
    with controlled(site.settings):
        memory = folder / "memory.json"
        kept = memory.read_text()
        memory.unlink()
        memory.mkdir()
        (memory / "in the way").touch()
        site.lock()
        answers = until(lambda: _answer(site, ada), "an answer or none")
        assert answers != "released"
        assert site.status.locked
        (memory / "in the way").unlink()
        memory.rmdir()
        memory.write_text(kept)
        until(lambda: _answer(site, ada) == "released", "the release once the disk works")


def _answer(site, person):
    try:
        return site.ask(person, wait_s=1.5).outcome
    except ReleaseRefused:
        return "none"


@pytest.mark.parametrize("text", ["", "{", '{"epoch": "x"}', '{"epoch": 1, "extra": 1}'])
def test_a_damaged_file_is_named(site, text):
    path = controller_folder(site.settings) / "memory.json"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"memory\.json is damaged"):
        Controller(site.settings)


def test_what_it_knows_survives_the_disk(tmp_path):
    known = Memory(epoch=7, open=True, reason="well", by="ada", since=3, head=9, tripped=("disk",))
    memory_store(tmp_path).save(known)
    assert memory_store(tmp_path).load() == known
    assert Path(tmp_path / "memory.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("off_ms", [-3_600_000, 3_600_000])
def test_a_controller_with_a_wrong_clock_opens_nothing(site, monkeypatch, off_ms):
    """Its leases are over, or of the future, for everybody else."""
    real = time.time_ns
    controller = Controller(site.settings)
    monkeypatch.setattr(time, "time_ns", lambda: real() + off_ms * 1_000_000)
    controller.tick()
    monkeypatch.undo()
    assert site.redis.get(FLAG)
    assert not site.open_to(Flag(site.ring))


def test_two_with_one_folder_are_refused(line_of_one, switchtower, monkeypatch):
    monkeypatch.setenv("SWITCHTOWER_HOME", str(line_of_one.settings.home))
    run = switchtower("controller")
    assert run.code == 1
    assert "a second one needs" in run.err.replace("\n", " ")


@pytest.fixture
def line_of_one(quick_broker_of_module):
    """A system whose controller's folder is taken."""
    with alone(controller_folder(quick_broker_of_module.settings)):
        yield quick_broker_of_module
