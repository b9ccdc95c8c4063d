"""`switchtower permissions …`: what models ask for, answering it, what stands, and trying a policy out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from redis import Redis
from rich.console import Console
from rich.live import Live

from security.permissions import views
from security.permissions.desk import Desk
from security.permissions.grants import Grant, GrantBook
from security.permissions.questions import Question
from security.permissions.resources import Group, groups_of, resolve
from security.permissions.words import completions, one_of, seconds, valid
from switchtower.connection import connect
from switchtower.envelope import KeyRing, Signer
from switchtower.errors import PermissionRefused
from switchtower.messages import PermissionRequest, new_identity, now_ms
from switchtower.registry import announced
from switchtower.settings import settings

if TYPE_CHECKING:
    from security.permissions.engine import PolicyPack

app = typer.Typer(name="permissions", help="What models may do: questions, grants, policies.", no_args_is_help=True)


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _redis() -> Redis:
    return connect(settings().broker)


def _ring() -> KeyRing:
    return KeyRing.load(settings().security.keys_directory)


def _desk() -> Desk:
    return Desk(_redis(), _ring(), settings().permissions)


def _operator(name: str | None, password_file: Path | None, *, quiet: bool) -> Signer:
    from security.permissions.acting import acting_operator, has_throwaway

    if name is None and not quiet and has_throwaway(settings()):
        _console().print("[yellow]a throw-away operator answers[/]: its password lies in a file")
    return acting_operator(settings(), name, password_file)


def complete_question(incomplete: str) -> list[tuple[str, str]]:
    return completions(incomplete, lambda: _desk().pending())


def complete_grant(incomplete: str) -> list[tuple[str, str]]:
    return completions(incomplete, lambda: _desk().grants())


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the audit, and a model that is denied is told.")]
For = Annotated[str | None, typer.Option("--for", help="How long: 90s, 15m, 1h, 2d.", show_default="the settings'")]
QuestionId = Annotated[
    str, typer.Argument(help="The question, or how its id begins.", autocompletion=complete_question)
]
GrantId = Annotated[str, typer.Argument(help="The grant, or how its id begins.", autocompletion=complete_grant)]
Action = Annotated[str, typer.Argument(help="file_read, file_write, search, execute or delegate.")]
Resource = Annotated[str, typer.Argument(help="A path, a scope, an isolation class, a model or a capability.")]
Operator = Annotated[str | None, typer.Option(help="Your name, where several operators' keys lie here.")]
PasswordFile = Annotated[Path | None, typer.Option(help="A file with your password, for automation.")]
Tenant = Annotated[str, typer.Option(help="Whose files and documents.")]


@app.command("list")
def list_questions(
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep the list up to date until Ctrl-C.")] = False,
) -> None:
    """List the questions that wait for an answer."""
    desk = _desk()
    if watch:
        _watch(desk)
    elif as_json:
        views.print_json(desk.pending())
    else:
        _console().print(views.questions(desk.pending()))


def _watch(desk: Desk) -> None:
    with Live(views.questions(desk.pending()), console=_console(), auto_refresh=False) as live:
        try:
            while True:
                time.sleep(1)
                live.update(views.questions(desk.pending()), refresh=True)
        except KeyboardInterrupt:
            return


@app.command()
def show(question: QuestionId, as_json: AsJson = False) -> None:
    """Show one question with the model's explanation, and what became of it."""
    desk = _desk()
    found = _found(desk, question)
    if as_json:
        answer = desk.answer(found)
        views.print_json([found] if answer is None else [found, answer])
    else:
        views.tell_question(_console(), found, desk.answer(found))


@app.command()
def approve(
    question: QuestionId,
    length: For = None,
    once: Annotated[bool, typer.Option("--once", help="Good for one use.")] = False,
    reason: Reason = "",
    operator: Operator = None,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Say yes to a question, in the operator's name; the grant is for exactly what was asked."""
    desk = _desk()
    found = _found(desk, question)
    good_s, signer = seconds(length), _operator(operator, password_file, quiet=as_json)
    given = valid(lambda: desk.approve(signer, found.id, good_s, once=once, reason=reason))
    _tell_grant(given, as_json)


@app.command()
def deny(
    question: QuestionId,
    reason: Reason = "",
    operator: Operator = None,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Say no to a question, in the operator's name."""
    desk = _desk()
    identity, signer = _found(desk, question).id, _operator(operator, password_file, quiet=as_json)
    found = valid(lambda: desk.deny(signer, identity, reason))
    if as_json:
        views.print_json([found])
    else:
        _console().print(f"[red]denied[/] {found.request.model} {found.request.action} {views.shown(found.resource)}")


@app.command()
def grant(
    model: Annotated[str, typer.Argument(help="The model.")],
    action: Action,
    resource: Resource,
    length: For = None,
    beneath: Annotated[bool, typer.Option("--beneath", help="A folder and everything in it.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Good for one use.")] = False,
    job: Annotated[str | None, typer.Option(help="Good in this job alone.")] = None,
    tenant: Tenant = "default",
    reason: Reason = "",
    operator: Operator = None,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Permit something before anybody asks; it counts where a policy says that a human may permit it."""
    said = seconds(length)
    good_s = settings().permissions.grant_s if said is None else said
    fields = {"model": model, "action": action, "bound": job, "tenant": tenant, "reason": reason}
    thing = resolve(action, resource, tenant, lambda _: frozenset()).uid.id
    wanted = valid(
        lambda: Grant.model_validate(
            fields
            | {"job": job or new_identity(), "resource": thing, "beneath": beneath, "once": once}
            | {"expires": now_ms() + int(good_s * 1000)}
        )
    )
    _tell_grant(_desk().give(_operator(operator, password_file, quiet=as_json), wanted), as_json)


@app.command()
def grants(as_json: AsJson = False) -> None:
    """List the grants that are in force."""
    found = _desk().grants()
    if as_json:
        views.print_json(found)
    else:
        _console().print(views.grants(found))


@app.command()
def revoke(
    grant: GrantId,
    reason: Reason = "",
    operator: Operator = None,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """End a grant at once, in the operator's name."""
    desk = _desk()
    identity = one_of(grant, [one.id for one in desk.grants()], "grant")
    signer = _operator(operator, password_file, quiet=as_json)
    ended = valid(lambda: desk.revoke(signer, identity, reason))
    if as_json:
        views.print_json([ended])
    else:
        _console().print(f"revoked: {ended.model} may no longer {ended.action} {views.shown(ended.resource)}")


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="The model; its groups are what it has announced.")],
    action: Action,
    resource: Resource,
    tainted: Annotated[
        bool, typer.Option("--tainted", help="As if retrieved or tool text were in its context.")
    ] = False,
    tenant: Tenant = "default",
    user: Annotated[str, typer.Option(help="On whose behalf.")] = "anonymous",
    group: Annotated[
        list[Group] | None, typer.Option(help="Its groups instead; needs no broker, knows no grants.")
    ] = None,
    policy: Annotated[list[Path] | None, typer.Option(help="Policies instead of the settings'.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what would be decided, and why, without asking or changing anything; exit code 0 when granted, else 1."""
    from security.permissions.rehearsal import rehearse

    fields = {"model": model, "action": action, "resource": resource, "tainted": tainted}
    whose = {"job": new_identity(), "tenant": tenant, "user": user, "explanation": "a rehearsal"}
    request = valid(lambda: PermissionRequest.model_validate(fields | whose))
    pack = _pack(policy)
    if group:
        found = rehearse(pack, request, lambda _: frozenset({Group.KNOWN, *group}))
    else:
        redis = _redis()
        cards = {one.card.name: one.card for one in announced(redis)}
        found = rehearse(pack, request, lambda name: groups_of(cards.get(name)), GrantBook(redis, _ring()).covering)
    if as_json:
        views.print_json([found])
    else:
        views.tell_decision(_console(), found)
    raise typer.Exit(0 if found.granted else 1)


@app.command()
def policies(
    files: Annotated[list[Path] | None, typer.Argument(help="Files or folders instead of the settings'.")] = None,
) -> None:
    """Validate policies together with the built-in ones, and list what is in force then."""
    pack = _pack(files)
    _console().print(views.policies(pack.policies.values(), pack.version))


def _pack(files: list[Path] | None) -> PolicyPack:
    from security.permissions.engine import PolicyPack  # Cedar: no other command needs it

    return PolicyPack.load(settings().permissions.policies if files is None else files)


def _tell_grant(given: Grant, as_json: bool) -> None:
    if as_json:
        views.print_json([given])
    else:
        views.tell_grant(_console(), given)


def _found(desk: Desk, beginning: str) -> Question:
    """The question whose id begins so; one that is not open any more must be named in full."""
    question = desk.question(beginning) or desk.question(
        one_of(beginning, [one.id for one in desk.pending()], "question")
    )
    if question is None:
        raise PermissionRefused("the question is forgotten")
    return question
