"""Loads and unloads a base model while its worker goes on; any thread may ask."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum

from switchtower.errors import BaseModelError, SwitchtowerError
from workers.models.base import BaseModel
from workers.models.progress import Progress


class State(StrEnum):
    """Where a model is between the disk and the memory."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"


class Holder:
    """Holds one base model, or none; `make` loads it, and is called again after each `unload`."""

    def __init__(
        self, make: Callable[[Progress], BaseModel], on_change: Callable[[State], None] = lambda _: None
    ) -> None:
        self._make = make
        self._on_change = on_change
        self._changed = threading.Condition()
        self._state = State.UNLOADED
        self._base: BaseModel | None = None
        self._error: SwitchtowerError | None = None

    @property
    def state(self) -> State:
        """Where the model is now."""
        return self._state

    @property
    def error(self) -> SwitchtowerError | None:
        """Why the last load failed; none once a load has begun or succeeded."""
        return self._error

    @property
    def base(self) -> BaseModel:
        """The loaded model; raises while there is none."""
        base = self._base
        if base is None:
            raise self._error or BaseModelError(f"the base model is {self._state}; send a state change to load it")
        return base

    def load(self, progress: Progress | None = None) -> BaseModel:
        """Load the model unless it is loaded; whoever comes while it is on its way waits for it."""
        if not self._claim(State.LOADED, State.LOADING):
            return self.base
        self._error = None
        try:
            self._base = self._make(progress or Progress())
        except SwitchtowerError as error:
            self._error = error
            raise
        finally:
            self._enter(State.LOADED if self._base else State.UNLOADED)
        return self.base

    def unload(self, drain: Callable[[], None] = lambda: None) -> None:
        """Give the model's memory back; `drain` ends first whatever still computes with it."""
        if not self._claim(State.UNLOADED, State.UNLOADING):
            return
        base = self.base
        try:
            drain()
            self._base = None
            base.unload()
        finally:
            self._enter(State.LOADED if self._base else State.UNLOADED)

    def _claim(self, reached: State, on_the_way: State) -> bool:
        """Wait until nobody else moves the model; say whether there is anything left to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._state in {State.LOADED, State.UNLOADED})
            if self._state is reached:
                return False
            self._state = on_the_way
        self._on_change(on_the_way)
        return True

    def _enter(self, state: State) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()
        self._on_change(state)
