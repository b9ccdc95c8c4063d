"""What raises the lockdown by itself, each at its threshold, and once for each incident."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from security.lockdown import triggers
from security.lockdown.triggers import AlertPattern, Resources
from switchtower.jobs import ALERTS, AUDIT
from switchtower.messages import SecurityAlert, new_identity, now_ms
from switchtower.settings import Audit
from tests.support.harness import controlled
from tests.support.site import Site
from tests.support.wait import until


class Usage(NamedTuple):
    """What a disk says of itself."""

    total: int
    used: int
    free: int


SOURCE = "switchtower.screen"


@pytest.fixture
def site(quick_broker_of_module, tmp_path) -> Iterator[Site]:
    """An open line whose controller looks ten times a second, and bears three alerts."""
    return Site.on(quick_broker_of_module, tmp_path, alerts=3, renew_s=0.1, lease_s=2)


def alert(site, count, user="eve", source=SOURCE):
    for _ in range(count):
        said = SecurityAlert(job=new_identity(), source=source, user=user, summary="a rule has matched")
        site.redis.xadd(ALERTS, {"e": said.model_dump_json()})


# -- alerts ---------------------------------------------------------------------------------------


def test_many_alerts_of_one_source_raise_once(site):
    """After the release the old alerts are settled, and only new ones count."""
    ada = site.person("ada")
    with controlled(site.settings):
        alert(site, 4)
        until(lambda: site.status.locked, "the trigger")
        assert (site.status.by, "4 alerts of" in site.status.reason) == ("controller", True)
        assert "eve" in site.status.reason
        assert [event.outcome for event in site.audited("trigger")] == ["alerts"]
        assert site.ask(ada).outcome == "released"
        seen = site.status.expires
        until(lambda: site.status.expires > seen + 500, "some more looks")
        alert(site, 3)
        until(lambda: site.status.expires > seen + 1000, "some more looks")
        assert not site.status.locked
        alert(site, 1)
        until(lambda: site.status.locked, "the trigger again")


def test_few_alerts_of_many_raise_nothing(site):
    pattern = AlertPattern(site.redis, limit=3, window_s=60)
    opened = now_ms() - 1000
    for user in ("ada", "bob", "eve"):
        alert(site, 3, user)
    alert(site, 3, "eve", "switchtower.review")
    assert pattern.check(opened) is None
    alert(site, 1, "bob")
    assert "bob" in pattern.check(opened).reason


def test_alerts_fall_out_of_the_window(site):
    pattern = AlertPattern(site.redis, limit=3, window_s=0.2)
    opened = now_ms() - 1000
    alert(site, 3)
    assert pattern.check(opened) is None
    until(lambda: not pattern._seen or pattern.check(opened), "the alerts to grow old")
    alert(site, 3)
    assert pattern.check(opened) is None


def test_alerts_that_nobody_can_read_count_too(site):
    pattern = AlertPattern(site.redis, limit=3, window_s=60)
    for text in ("", "{", "[" * 5000, '{"source": 1}'):
        site.redis.xadd(ALERTS, {"e": text})
    assert "unreadable" in pattern.check(now_ms() - 1000).reason


# -- resources ------------------------------------------------------------------------------------


def test_a_full_disk_raises_once_until_it_has_eased(site, monkeypatch):
    used = 10

    def usage(path):
        return Usage(100, used, 100 - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    ada = site.person("ada")
    with controlled(site.with_limits(disk=0.9).settings):
        used = 95
        until(lambda: site.status.locked, "the trigger")
        assert "95% of the disk" in site.status.reason
        assert site.ask(ada).outcome == "released"
        seen = site.status.expires
        until(lambda: site.status.expires > seen + 500, "some more looks")
        assert not site.status.locked
        used = 10
        until(lambda: site.status.expires > seen + 1000, "some more looks")
        used = 95
        until(lambda: site.status.locked, "the trigger again")


@pytest.fixture
def gauges(site, monkeypatch):
    """The resources' checks with everything in good order."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 1, 99))
    monkeypatch.setattr(triggers, "host", lambda: 0.1)

    def check(tripped=(), audit=None, **limits):
        settings = site.with_limits(**limits).settings
        return Resources(site.redis, settings.model_copy(update={"audit": audit or Audit()})).check(tripped)

    return check


def test_in_good_order_nothing_trips(gauges):
    assert gauges() == (None, ())


def test_the_hosts_memory(gauges, monkeypatch):
    monkeypatch.setattr(triggers, "host", lambda: 0.97)
    trip, out = gauges(host_memory=0.95)
    assert (trip.name, out) == ("host_memory", ("host_memory",))
    assert gauges(out, host_memory=0.95) == (None, out)


def test_the_brokers_memory(gauges, site):
    assert gauges(broker_memory=0.9) == (None, ())
    site.redis.config_set("maxmemory", int(site.redis.info("memory")["used_memory"] * 1.05))
    try:
        trip, _ = gauges(broker_memory=0.9)
    finally:
        site.redis.config_set("maxmemory", 0)
    assert trip.name == "broker_memory"


def test_events_that_wait_for_the_audit(gauges, site, tmp_path):
    for _ in range(3):
        site.redis.xadd(AUDIT, {"e": "{}"})
    assert gauges(audit_backlog=3) == (None, ())  # nobody keeps an audit here
    trip, _ = gauges(audit=Audit(heads=tmp_path / "heads"), audit_backlog=3)
    assert trip.name == "audit_backlog"


def test_two_at_once_raise_one_after_the_other(gauges, monkeypatch):
    monkeypatch.setattr(triggers, "host", lambda: 0.97)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 99, 1))
    first, out = gauges(host_memory=0.95, disk=0.95)
    second, both = gauges(out, host_memory=0.95, disk=0.95)
    assert {first.name, second.name} == set(both) == {"host_memory", "disk"}


def test_a_gauge_that_cannot_be_read_trips_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(triggers, "_MEMINFO", tmp_path / "none")
    assert triggers.host() is None
    assert triggers.disk(tmp_path / "none") is None
    assert 0 < triggers.disk(tmp_path) <= 1
