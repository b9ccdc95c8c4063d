"""`switchtower permissions`: what an operator sees, types, and is told."""

from __future__ import annotations

import json
import time

import pytest
import typer

from security.lockdown.operators import admit_operator, prepare
from security.permissions import commands
from security.permissions.commands import complete_grant, complete_question
from security.permissions.words import one_of
from switchtower.registry import Announcement, announce
from switchtower.settings import settings
from tests.support.permits import CARDS, OVERRIDE, Office, asking, policy
from workers.embedded import environment

UPLOAD = ("file_write", "uploads/notes.txt")


@pytest.fixture
def office(quick_broker, monkeypatch):
    for name, value in environment(quick_broker.settings).items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield Office(quick_broker)
    settings.cache_clear()


@pytest.fixture
def permissions(office, switchtower):
    """The command; `permissions("list")`."""
    return lambda *words: switchtower("permissions", *words)


def asked(office, *ask, **fields):
    return office.asked(*(ask or UPLOAD), **fields)


# -- looking --------------------------------------------------------------------------------------


def test_an_empty_desk_says_so(permissions):
    assert permissions("list").out == "no question is open\n"
    assert "no grant is in force" in permissions("grants").out
    assert json.loads(permissions("list", "--json").out) == []
    assert json.loads(permissions("grants", "--json").out) == []


def test_the_list_shows_who_wants_what_and_why(office, permissions):
    identity = asked(office, explanation="to tidy up", user="ann", tenant="acme")
    asked(office, "file_write", "downloads/a", tainted=True)
    said = permissions("list").out
    for word in (identity, "local", "ann@acme", "file_write", "uploads/notes.txt", "to tidy up", "14 min", "yes"):
        assert word in said
    listed = json.loads(permissions("list", "--json").out)
    assert [one["tainted"] for one in listed] == [False, True]
    assert listed[0]["request"]["explanation"] == "to tidy up"


def test_a_watch_shows_what_comes_and_ends_with_ctrl_c(office, permissions, monkeypatch):
    turns = []

    def turn(_):
        if turns:
            raise KeyboardInterrupt
        turns.append(asked(office))

    monkeypatch.setattr(commands.time, "sleep", turn)
    run = permissions("list", "--watch")
    assert run.code == 0
    assert turns[0] in run.out


def test_one_question_in_full(office, permissions):
    identity = asked(office, "file_write", "downloads/a", tainted=True, explanation="urgent!")
    said = permissions("show", identity[:8]).out
    assert "local wants to file_write downloads/a" in said
    assert "a yes is good once, for this job alone" in said
    assert "tainted-act" in said
    assert "do not take it for the truth): urgent!" in said
    permissions("deny", identity, "--reason", "no hurry")
    assert f"denied by {office.operator.kid}" in permissions("show", identity).out
    assert len(json.loads(permissions("show", identity, "--json").out)) == 2


def test_a_models_words_cannot_paint_the_terminal(office, permissions):
    evil = "\x1b[2J\x1b[1;1H[bold green]approved[/] \u202egpj.exe\x07"
    identity = asked(office, explanation=evil)
    for said in (permissions("list").out, permissions("show", identity).out):
        assert "\x1b" not in said
        assert "\x07" not in said
        assert "\u202e" not in said
        assert "[bold green]approved[/]" in said.replace("\n", "")


# -- answering ------------------------------------------------------------------------------------


def test_a_yes_a_no_and_a_revocation(office, permissions):
    yes, no = asked(office), asked(office, "execute", "bwrap")
    told = permissions("approve", yes, "--for", "2h", "--reason", "fine")
    assert told.code == 0
    assert "granted to local of default: file_write uploads/notes.txt" in told.out
    assert "good for 1 h 59 min" in told.out
    assert permissions("deny", no[:6], "--reason", "no").code == 0
    assert office.manager.decide(asking(*UPLOAD)).granted
    assert not office.manager.decide(asking("execute", "bwrap")).granted

    (grant,) = json.loads(permissions("grants", "--json").out)
    assert "uploads/notes.txt" in permissions("grants").out
    assert "may no longer file_write uploads/notes.txt" in permissions("revoke", grant["id"][:13]).out
    assert office.manager.decide(asking(*UPLOAD)).pending


def test_a_yes_for_once(office, permissions):
    (grant,) = json.loads(permissions("approve", asked(office), "--once", "--json").out)
    assert grant["once"]
    assert office.manager.decide(asking(*UPLOAD)).granted
    assert office.manager.decide(asking(*UPLOAD)).pending


def test_a_grant_that_nobody_asked_for(office, permissions):
    told = permissions(
        "grant", "local", "file_write", "/uploads/drafts/", "--beneath", "--for", "1d", "--tenant", "acme"
    )
    assert "uploads/drafts and all in it" in told.out
    assert office.manager.decide(asking("file_write", "uploads/drafts/a", tenant="acme")).granted
    assert office.manager.decide(asking("file_write", "uploads/drafts/a")).pending


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("approve", "nothing"), 2, "no question with an id that begins with 'nothing'"),
        (("deny", "x"), 2, "at least 4 letters"),
        (("revoke", "nothing"), 2, "no grant with an id"),
        (("show", "nothing"), 2, "no question with an id"),
        (("approve", "ID", "--for", "soon"), 2, "write 90s, 15m, 1h or 2d"),
        (("approve", "ID", "--for", "h"), 2, "write 90s"),
        (("approve", "ID", "--for", "31d"), 1, "at most 2592000 s"),
        (("approve", "ID", "--for", "0s"), 1, "more than 0 s"),
        (("approve", "ID", "--reason", "x" * 501), 2, "reason: String should have at most 500"),
        (("deny", "ID", "--reason", "x" * 501), 2, "reason: String should have at most 500"),
        (("grant", "local", "file_write", "../x"), 1, "the path leads out of the root"),
        (("grant", "local", "fly", "x"), 1, "no policy knows this action"),
        (("grant", "two words", "file_write", "x"), 2, "model"),
        (("check", "local", "fly", "x"), 2, "action"),
        (("check", "local", "file_read", "x", "--policy", "missing.cedar"), 1, "missing.cedar: cannot be read"),
    ],
)
def test_what_is_wrong_is_said(office, permissions, words, code, said):
    identity = asked(office)
    run = permissions(*(identity if word == "ID" else word for word in words))
    assert run.code == code
    flat = " ".join(run.err.replace("│", " ").split())
    assert said in flat
    assert len(office.desk.pending()) == 1


def test_an_id_that_is_not_the_only_one():
    with pytest.raises(typer.BadParameter, match="2 ids begin"):
        one_of("abcd", ["abcde", "abcdf", "xyz"], "question")


PASSWORD = "correct horse battery"


@pytest.fixture
def ann(office, monkeypatch, tmp_path):
    """A real operator, whose key lies in a folder without a throw-away one; the file with the password."""
    ours = office.broker.settings
    security = ours.security.model_copy(update={"keys_directory": tmp_path / "keys"})
    lockdown = ours.lockdown.model_copy(update={"directory": tmp_path / "controller"})
    office.ring.save(security.keys_directory)
    made = prepare("ann", PASSWORD, ours)
    admit_operator(*made, ours.model_copy(update={"security": security, "lockdown": lockdown}))
    monkeypatch.setenv("SWITCHTOWER_SECURITY__KEYS_DIRECTORY", str(security.keys_directory))
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


def test_an_operator_answers_with_the_password(office, permissions, ann):
    identity = asked(office)
    told = permissions("approve", identity, "--password-file", str(ann))
    assert "granted to local" in told.out
    assert "throw-away" not in told.out
    assert office.audit("approval")[0]["actor"].startswith("operator-")
    assert office.audit("approval")[0]["actor"] != office.operator.kid


@pytest.mark.parametrize("command", ["approve", "deny"])
def test_without_the_password_nobody_answers(office, permissions, ann, command):
    identity = asked(office)
    ann.write_text("a wrong password")
    run = permissions(command, identity, "--password-file", str(ann))
    assert run.code == 1
    assert "the password does not open the key of ann" in run.err
    assert len(office.desk.pending()) == 1
    assert office.desk.grants() == []


def test_without_an_operators_key_nobody_answers(office, permissions, ann):
    identity = asked(office)
    run = permissions("approve", identity, "--operator", "bob")
    assert run.code == 1
    assert "no operator's key" in run.err
    assert len(office.desk.pending()) == 1


def test_of_several_operators_one_is_named(office, permissions, ann):
    identity = asked(office)
    folder = ann.parent / "keys/operators"
    (folder / "bob.key").write_text((folder / "ann.key").read_text())
    assert "the keys of ann, bob lie" in permissions("deny", identity).err
    assert permissions("deny", identity, "--operator", "ann", "--password-file", str(ann)).code == 0


def test_a_throw_away_operator_is_said_to_be_one(office, permissions):
    assert "a throw-away operator answers" in permissions("deny", asked(office)).out


# -- trying out -----------------------------------------------------------------------------------


def test_a_rehearsal_explains_and_changes_nothing(office, permissions):
    announce(
        office.redis, [Announcement(card=card, worker="w", seen=time.time_ns() // 10**6) for card in CARDS.values()]
    )
    before = sorted(office.redis.keys())
    granted = permissions("check", "local", "file_write", "downloads/a")
    assert granted.code == 0
    assert "granted: local file_write downloads/a: permitted by models-write-downloads" in granted.out
    asks = permissions("check", "cloud", "file_write", "downloads/a", "--tainted")
    assert asks.code == 1
    assert "asked: cloud file_write downloads/a: a human is asked" in asks.out
    denied = permissions("check", "stranger", "file_read", "uploads/a")
    assert denied.code == 1
    assert "forbidden by unknown-model" in denied.out
    out = permissions("check", "local", "file_read", "../x", "--json")
    assert json.loads(out.out)[0]["reason"] == "the path leads out of the root"
    assert sorted(office.redis.keys()) == before


def test_a_rehearsal_knows_the_grants_and_uses_none_up(office, permissions):
    announce(office.redis, [Announcement(card=CARDS["local"], worker="w", seen=time.time_ns() // 10**6)])
    office.desk.approve(office.operator, asked(office), once=True)
    for _ in range(2):
        assert "has agreed" in permissions("check", "local", *UPLOAD).out
    assert office.manager.decide(asking(*UPLOAD)).granted


def test_a_policy_is_tried_without_a_broker(permissions, monkeypatch, tmp_path):
    monkeypatch.setenv("SWITCHTOWER_BROKER__URL", "redis://127.0.0.1:1/0")
    own = str(policy(tmp_path, OVERRIDE))
    check = ("check", "writer", "file_write", "downloads/a", "--group", "local")
    assert permissions(*check).code == 0
    assert "forbidden by writer-stays-out" in permissions(*check, "--policy", own).out


def test_policies_are_validated_and_listed(permissions, tmp_path):
    own = policy(tmp_path, OVERRIDE)
    said = permissions("policies", str(own)).out
    assert "writer-stays-out" in said
    assert "own.cedar:2" in said
    assert "tainted-act" in said
    policy(tmp_path, "permit (principal, action, resource);")
    run = permissions("policies", str(own))
    assert run.code == 1
    assert "own.cedar:1: the policy needs a name" in run.err


def test_a_policy_that_fails_is_explained_in_a_rehearsal(permissions, tmp_path):
    overflow = '@id("x")@explanation("X.") forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };'
    own = str(policy(tmp_path, overflow))
    said = permissions("check", "m", "file_read", "uploads/a", "--group", "local", "--policy", own).out
    assert "the policies could not be evaluated" in said
    assert "overflow" in said


# -- the shell ------------------------------------------------------------------------------------


def test_the_shell_completes_ids(office):
    identity = asked(office)
    grant = office.desk.approve(office.operator, asked(office, "execute", "bwrap"))
    assert complete_question(identity[:3]) == [(identity, "local file_write uploads/notes.txt")]
    assert complete_question("zzz") == []
    assert complete_grant("") == [(grant.id, "local execute bwrap")]


def test_a_shell_without_a_broker_completes_nothing(office, monkeypatch):
    monkeypatch.setenv("SWITCHTOWER_BROKER__URL", "redis://127.0.0.1:1/0")
    settings.cache_clear()
    assert complete_question("") == []
    monkeypatch.setenv("SWITCHTOWER_SECURITY__KEYS_DIRECTORY", "/nowhere")
    settings.cache_clear()
    assert complete_grant("") == []
