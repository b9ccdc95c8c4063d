"""An operator for tests, who knows a password and has an authenticator at hand."""

from __future__ import annotations

from dataclasses import dataclass

from security.lockdown.operators import Operator, admit_operator, prepare
from switchtower.envelope import Signer
from switchtower.settings import Settings
from tests.support.wait import until

PASSWORD = "correct horse battery"


@dataclass
class Person:
    """An operator at a terminal, whose codes change every second."""

    operator: Operator
    signer: Signer
    used: int = 0

    @classmethod
    def on(cls, settings: Settings, name: str, step_s: int = 2) -> Person:
        """A new operator on the list of this controller, in the place of an older one of this name."""
        operator, locked = prepare(name, PASSWORD, settings, step_s)
        admit_operator(operator, locked, settings)
        return cls(operator, locked.unlock(PASSWORD))

    def code(self) -> str:
        """A code that was not used yet; waits until there is one."""
        until(lambda: self.used <= self.operator.step_now(), "the next code", seconds=5)
        self.used = max(self.used + 1, self.operator.step_now())
        return str(self.operator.totp.generate_otp(self.used))

    def wrong_code(self) -> str:
        """Six digits that fit at no time near now."""
        near = {self.operator.totp.generate_otp(self.operator.step_now() + off) for off in range(-5, 30)}
        return next(code for code in (f"{number:06}" for number in range(100)) if code not in near)
