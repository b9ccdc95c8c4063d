"""What a worker tells of itself."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("torch", reason="the local engine needs the extra [local]")

import torch

from switchtower.registry import AdapterSlot
from workers import vitals
from workers.adapters.leases import AdapterFact
from workers.engine.meter import Meter

GIB = 2**30


# -- asking the machine ---------------------------------------------------------------------------


def test_the_memory_of_the_process():
    assert 20_000_000 < vitals.process()["rss_bytes"] < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_without_a_gpu_nothing_is_said_of_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert vitals.gpu() == {}


@pytest.fixture
def gpu(monkeypatch):
    """As if there were one, whose memory is three quarters full."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2 * GIB, 8 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="1234"))
    vitals._sensor.cache_clear()
    yield
    vitals._sensor.cache_clear()


class NVMLError(Exception):
    """As NVML's own."""


def nvml(**calls):
    base = {"nvmlInit": lambda: None, "nvmlDeviceGetHandleByUUID": lambda uuid: uuid, "NVML_TEMPERATURE_GPU": 0}
    return SimpleNamespace(NVMLError=NVMLError, **base | calls)


def fail(*_):
    raise NVMLError


@pytest.mark.usefixtures("gpu")
def test_the_gpu_that_torch_uses_is_asked_for_its_temperature(monkeypatch):
    heat = nvml(nvmlDeviceGetTemperature=lambda handle, _: {"GPU-1234": 61}[handle])
    monkeypatch.setitem(sys.modules, "pynvml", heat)
    assert vitals.gpu() == {"gpu_bytes": 6 * GIB, "gpu_total_bytes": 8 * GIB, "gpu_celsius": 61}


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(
    "module", [None, nvml(nvmlInit=fail), nvml(nvmlDeviceGetHandleByUUID=fail), nvml(nvmlDeviceGetTemperature=fail)]
)
def test_where_nvml_is_missing_or_fails_there_is_no_temperature(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert vitals.gpu()["gpu_celsius"] is None


def test_an_adapter_that_waits_for_a_slot_is_in_none():
    facts = [AdapterFact("a", "a-1", 2, 3, 0, 0, True, 0), AdapterFact("b", "b-1", 0, 0, 0, 0, False, 4)]
    engine = SimpleNamespace(
        loop=SimpleNamespace(rows=3, waiting=4, meter=Meter()),
        adapters=SimpleNamespace(facts=lambda: facts),
        cache=SimpleNamespace(nbytes=5),
    )
    told = vitals.of_engine(engine)
    assert told["adapters"] == (AdapterSlot(name="a", version="a-1", leases=3, pinned=True),)
    assert (told["rows"], told["waiting"], told["kv_cache_bytes"]) == (3, 4, 5)
