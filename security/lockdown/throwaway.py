"""A throw-away operator, whose password and codes lie in one file: for demonstrations, and for nothing else."""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import Field, ValidationError
from redis import Redis

from security.lockdown.keyfile import LockedKey, random_password
from security.lockdown.memory import write_private
from security.lockdown.operators import Operator, admit_operator, prepare
from security.lockdown.places import keys_folder
from security.lockdown.request import Heads, ReleaseVerdict, request_release, wish
from switchtower.envelope import KeyRing, Signer
from switchtower.errors import ConfigurationError
from switchtower.lease import standing
from switchtower.models import Frozen
from switchtower.settings import Settings

NAME = "throw-away"
_LOOK_S = 0.05


class Throwaway(Frozen):
    """Both factors of an operator in one place, which is why it is good for demonstrations only."""

    operator: Operator
    password: str = Field(repr=False)
    used: int = 0
    """The latest time step whose code was sent."""

    @staticmethod
    def path(settings: Settings) -> Path:
        return keys_folder(settings) / f"{NAME}.json"

    @classmethod
    def create(cls, settings: Settings) -> Throwaway:
        """Make one and put it on the controller's list, in the place of the last one."""
        password = random_password()
        operator, locked = prepare(NAME, password, settings)
        made = cls(operator=operator, password=password)
        admit_operator(operator, locked, settings)
        made.save(settings)
        return made

    @classmethod
    def load(cls, settings: Settings) -> Throwaway:
        """The one that lies here; raises `ConfigurationError` where there is none."""
        try:
            return cls.model_validate_json(cls.path(settings).read_bytes())
        except (FileNotFoundError, ValidationError):
            raise ConfigurationError("no throw-away operator lies here") from None

    def save(self, settings: Settings) -> None:
        write_private(self.path(settings), self.model_dump_json())

    def signer(self, settings: Settings) -> Signer:
        """The private key, by the password."""
        return LockedKey.load(keys_folder(settings) / f"{NAME}.key").unlock(self.password)

    def next_step(self) -> int:
        """The first time step whose code was not used and is good now; waits for it."""
        while self.used > self.operator.step_now():
            time.sleep(_LOOK_S)
        return max(self.used + 1, self.operator.step_now())


def release(redis: Redis, settings: Settings, reason: str, heads: Heads | None = None) -> ReleaseVerdict:
    """Release as an operator would, by the same protocol, with both factors out of the file."""
    mine = Throwaway.load(settings)
    step = mine.next_step()
    mine.model_copy(update={"used": step}).save(settings)
    ring = KeyRing.load(settings.security.keys_directory)
    head = heads.latest() if heads else None
    code = str(mine.operator.totp.generate_otp(step))
    operator = mine.signer(settings)
    asked = wish(operator, standing(redis, ring).epoch, code, head.hash if head else None, reason)
    return request_release(redis, ring, operator, asked)


def drop(settings: Settings) -> None:
    """Delete what is left of a throw-away operator, once there is a real one."""
    Throwaway.path(settings).unlink(missing_ok=True)
