"""Who may release the embedded system: somebody has to, and a throw-away operator says what it is."""

from __future__ import annotations

from rich.console import Console

from security.lockdown import throwaway
from security.lockdown.operators import known
from security.lockdown.places import operators_folder
from switchtower.settings import Settings


def expect_operator(settings: Settings, console: Console, *, asks: bool) -> None:
    """See to it that there is an operator, and say plainly when it is none to rely on."""
    operators = known(operators_folder(settings))
    if not operators and asks and _made_by_dialogue(settings, console):
        return
    if not operators:
        throwaway.Throwaway.create(settings)
    if not operators or [one.name for one in operators] == [throwaway.NAME]:
        console.print(
            "[yellow]A throw-away operator releases lockdowns here[/]: its password and its codes lie together in "
            f"{throwaway.Throwaway.path(settings)}. Make a real one with `switchtower operator create`.",
            soft_wrap=True,
        )


def _made_by_dialogue(settings: Settings, console: Console) -> bool:
    import typer

    from security.operator_commands import create_operator

    console.print("No operator is known yet. Only an operator can release a lockdown.")
    if not typer.confirm("Make one now?", default=True):
        return False
    create_operator(settings, str(typer.prompt("Name", default="operator")))
    return True
