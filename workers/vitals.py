"""What a worker tells of itself: memory, temperature, and what its engine is doing."""

from __future__ import annotations

import resource
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from switchtower.registry import AdapterSlot

if TYPE_CHECKING:
    from workers.engine.engine import Engine

_STATM = Path("/proc/self/statm")
_DIGITS = 4


def process() -> dict[str, Any]:
    """The memory of this process (Linux)."""
    return {"rss_bytes": int(_STATM.read_text().split()[1]) * resource.getpagesize()}


def of_engine(engine: Engine) -> dict[str, Any]:
    """What an engine is doing now, and did of late."""
    loop, meter = engine.loop, engine.loop.meter
    slots = [
        AdapterSlot(name=fact.name, version=fact.version, leases=fact.leases, pinned=fact.pinned)
        for fact in engine.adapters.facts()
        if fact.slot
    ]
    return {
        "adapters": tuple(slots),
        "rows": loop.rows,
        "waiting": loop.waiting,
        "tokens_per_s": round(meter.rate(), _DIGITS),
        "queue_wait_s": round(meter.wait_s, _DIGITS),
        "step_s": round(meter.step_s, _DIGITS),
        "kv_cache_bytes": engine.cache.nbytes,
    }


def gpu() -> dict[str, Any]:
    """The memory and the temperature of the GPU that torch computes on; nothing where there is none."""
    import torch

    if not torch.cuda.is_available():
        return {}
    free, total = torch.cuda.mem_get_info()
    return {"gpu_bytes": total - free, "gpu_total_bytes": total, "gpu_celsius": _celsius()}


def _celsius() -> int | None:
    handle = _sensor()
    if handle is None:
        return None
    import pynvml

    try:
        return int(pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
    except pynvml.NVMLError:
        return None


@cache
def _sensor() -> Any:
    """NVML's handle of torch's GPU; nothing where NVML, or its Python binding, is missing."""
    import torch

    try:
        import pynvml

        pynvml.nvmlInit()
        # By its UUID: the order of torch's GPUs is not NVML's.
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
    except ImportError:
        return None
    except pynvml.NVMLError:
        return None
