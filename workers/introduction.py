"""How a gpu worker introduces itself and its base model, wherever the model runs."""

from __future__ import annotations

import os
import socket

from switchtower.models import Capability, ModelCard, Provider


def worker_name() -> str:
    """This process's name in the registry."""
    return f"{socket.gethostname()}/{os.getpid()}"


def base_card(name: str) -> ModelCard:
    """What a base model without an adapter is good for."""
    able = frozenset({Capability.GENERAL})
    return ModelCard(name=name, provider=Provider.LOCAL, capabilities=able, base=name)
