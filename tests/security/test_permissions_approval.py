"""Asking a human: who may answer, what an answer is good for, and when it ends."""

from __future__ import annotations

import threading

import pytest

from security.permissions import questions
from security.permissions.manager import TOO_MANY, UNANSWERED
from security.permissions.questions import Answer
from security.provenance import Provenance
from switchtower.envelope import Role
from switchtower.errors import PermissionRefused
from switchtower.jobs import AUDIT
from switchtower.messages import new_identity, now_ms
from switchtower.settings import Permissions
from tests.support.permits import HOUR_MS, JOB, Office, asking, given_to

UPLOAD = ("file_write", "uploads/notes.txt")


@pytest.fixture
def office(quick_broker):
    return Office(quick_broker)


# -- asking ---------------------------------------------------------------------------------------


def test_a_question_holds_what_the_operator_must_know(office):
    identity = office.asked("file_write", "/uploads//notes.txt", explanation="to tidy up")
    (question,) = office.desk.pending()
    assert question.id == identity
    assert question.resource == "uploads/notes.txt"
    assert question.request.explanation == "to tidy up"
    assert question.reason == "A human may let a model change what users uploaded."
    assert question.policies == ("writing-uploads-is-asked",)
    assert not question.tainted
    assert question.expires <= now_ms() + 1000 * office.limits.approval_s


def test_who_asks_the_same_twice_asks_one_question(office):
    first = office.asked(*UPLOAD)
    assert office.asked("file_write", "uploads/./notes.txt") == first
    assert len(office.desk.pending()) == 1
    assert len(office.audit("permission")) == 1


@pytest.mark.parametrize(
    "other", [{"model": "cloud"}, {"tenant": "acme"}, {"user": "ann"}, {"job": new_identity()}, {"tainted": True}]
)
def test_who_asks_something_else_asks_another(office, other):
    assert office.asked(*UPLOAD) != office.asked(*UPLOAD, **other)


def test_a_model_has_only_so_many_questions_open(quick_broker):
    office = Office(quick_broker, Permissions(max_questions=2))
    for number in range(2):
        office.asked("file_write", f"uploads/{number}")
    assert office.manager.decide(asking("file_write", "uploads/3")).reason == TOO_MANY
    office.asked(*UPLOAD, model="cloud")
    office.desk.deny(office.operator, office.asked("file_write", "uploads/1"))
    office.asked("file_write", "uploads/3")


def test_what_no_policy_lets_a_human_permit_is_not_asked(office):
    assert not office.manager.decide(asking("file_write", "etc/passwd")).pending
    assert office.desk.pending() == []


# -- answering ------------------------------------------------------------------------------------


def test_a_yes_is_a_grant_for_exactly_this(office):
    identity = office.asked(*UPLOAD)
    grant = office.desk.approve(office.operator, identity, reason="fine")
    decision = office.manager.decide(asking(*UPLOAD))
    assert decision.granted
    assert decision.grant == grant.id
    assert decision.policies == ("writing-uploads-is-asked",)
    assert office.desk.pending() == []
    for other in ({"model": "cloud"}, {"tenant": "acme"}):
        assert office.manager.decide(asking(*UPLOAD, **other)).pending
    assert office.manager.decide(asking("file_write", "uploads/notes.txt.bak")).pending
    assert office.manager.decide(asking("file_write", "uploads/notes.txt/x")).pending
    assert office.manager.decide(asking("file_write", "uploads")).pending


def test_a_no_is_a_denial_with_its_reason_and_is_not_asked_again(office):
    identity = office.asked(*UPLOAD)
    office.desk.deny(office.operator, identity, "not today")
    decision = office.manager.decide(asking(*UPLOAD))
    assert not decision.granted
    assert not decision.pending
    assert decision.reason == "a human denied it: not today"
    assert office.desk.pending() == []


def test_a_model_that_goes_on_asking_after_a_no_is_counted(office):
    office.desk.deny(office.operator, office.asked(*UPLOAD))
    for _ in range(6):
        office.manager.decide(asking(*UPLOAD))
    assert len(office.raised) == 1


def test_answers_are_audited_in_the_operators_name(office):
    office.desk.approve(office.operator, office.asked(*UPLOAD), reason="fine")
    office.desk.deny(office.operator, office.asked("execute", "bwrap"))
    yes, no = office.audit("approval")
    assert (yes["outcome"], no["outcome"]) == ("approved", "denied")
    assert yes["actor"] == office.operator.kid
    assert yes["facts"] | {"resource": "uploads/notes.txt", "reason": "fine", "once": False} == yes["facts"]
    assert "because" not in str(office.redis.xrange(AUDIT))
    assert "operator" in office.signers()


def test_a_question_is_answered_once(office):
    identity = office.asked(*UPLOAD)
    office.desk.deny(office.operator, identity)
    for again in (office.desk.approve, office.desk.deny):
        with pytest.raises(PermissionRefused, match="answered already"):
            again(office.operator, identity)
    assert not office.manager.decide(asking(*UPLOAD)).granted


def test_of_two_operators_at_once_one_is_told(office, monkeypatch):
    identity = office.asked(*UPLOAD)
    watch = questions.QuestionBook.reply

    def late(book, pipe, question, answer, operator):
        monkeypatch.setattr(questions.QuestionBook, "reply", watch)
        office.desk.deny(office.operator, identity)
        watch(book, pipe, question, answer, operator)

    monkeypatch.setattr(questions.QuestionBook, "reply", late)
    with pytest.raises(PermissionRefused, match="somebody else"):
        office.desk.approve(office.operator, identity)
    assert office.desk.grants() == []


def test_an_unknown_question_cannot_be_answered(office):
    with pytest.raises(PermissionRefused, match="no such question"):
        office.desk.approve(office.operator, new_identity())


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OPERATOR])
def test_only_an_operators_key_answers(office, role):
    identity = office.asked(*UPLOAD)
    signer = office.broker.signer(role)
    for act in (
        lambda: office.desk.approve(signer, identity),
        lambda: office.desk.deny(signer, identity),
        lambda: office.desk.give(signer, given_to()),
    ):
        with pytest.raises(PermissionRefused, match="only an operator"):
            act()
    assert office.desk.grants() == []


# -- forging --------------------------------------------------------------------------------------


def test_a_workers_no_or_yes_is_no_answer(office):
    identity = office.asked(*UPLOAD)
    question = office.desk.question(identity)
    for role in (Role.GUARDRAIL, Role.GPU):
        answer = Answer(job=JOB, question=identity, asked=question.created, approved=True)
        sealed = office.broker.signer(role).seal(answer, questions.ANSWER_WIRE, answer.id, now_ms() + HOUR_MS)
        office.redis.xadd(f"switchtower:permissions:answer:{identity}", {"e": sealed.model_dump_json()})
    office.redis.expire(f"switchtower:permissions:answer:{identity}", 60)
    assert office.desk.answer(question) is None
    assert office.manager.wait(identity, 0).pending


def test_a_question_that_a_worker_made_up_is_not_shown(office):
    identity = office.asked(*UPLOAD)
    question = office.desk.question(identity)
    sealed = office.broker.signer(Role.GPU).seal(question, questions.WIRE, identity, now_ms() + HOUR_MS)
    office.redis.set(f"switchtower:permissions:question:{identity}", sealed.model_dump_json(), keepttl=True)
    assert office.desk.pending() == []
    with pytest.raises(PermissionRefused, match="no such question"):
        office.desk.approve(office.operator, identity)


def test_an_answer_to_an_earlier_asking_does_not_count(office):
    identity = office.asked(*UPLOAD)
    office.desk.approve(office.operator, identity, once=True)
    old = office.redis.xrange(f"switchtower:permissions:answer:{identity}")[0][1]
    assert office.manager.decide(asking(*UPLOAD)).granted
    assert office.asked(*UPLOAD) == identity
    office.redis.xadd(f"switchtower:permissions:answer:{identity}", old)
    office.redis.expire(f"switchtower:permissions:answer:{identity}", 60)
    assert office.manager.decide(asking(*UPLOAD)).pending


# -- text of strangers ----------------------------------------------------------------------------


def test_what_tainted_context_asked_for_is_good_once_and_in_its_job_alone(office):
    download = ("file_write", "downloads/a")
    grant = office.desk.approve(office.operator, office.asked(*download, tainted=True), 86_400)
    assert (grant.once, grant.bound, grant.tainted) == (True, JOB, True)
    assert office.manager.decide(asking(*download, tainted=True, job=new_identity())).pending
    assert office.manager.decide(asking(*download, tainted=True)).granted
    assert office.manager.decide(asking(*download, tainted=True)).pending


def test_a_standing_grant_from_clean_context_holds_for_tainted_context_too(office):
    office.desk.give(office.operator, given_to(resource="downloads/reports", beneath=True))
    assert office.manager.decide(asking("file_write", "downloads/reports/a", tainted=True)).granted
    assert office.manager.decide(asking("file_write", "downloads/keys", tainted=True)).pending


def test_an_operators_own_grant_is_never_marked_as_asked_for(office):
    grant = office.desk.give(office.operator, given_to(tainted=True, question=new_identity(), user="mallory"))
    assert (grant.tainted, grant.question, grant.user) == (False, None, office.operator.kid)


# -- waiting --------------------------------------------------------------------------------------


def test_who_waits_is_told_the_answer(office):
    identity = office.asked(*UPLOAD)
    told = []
    waiter = threading.Thread(target=lambda: told.append(office.manager.wait(identity, 10)))
    waiter.start()
    office.desk.approve(office.operator, identity, once=True)
    waiter.join(10)
    assert told[0].granted
    assert office.desk.grants() == []


def test_who_waits_is_told_a_no(office):
    identity = office.asked(*UPLOAD)
    office.desk.deny(office.operator, identity, "no")
    assert office.manager.wait(identity, 10).reason == "a human denied it: no"


def test_a_wait_that_ends_early_leaves_the_question_open(office):
    identity = office.asked(*UPLOAD)
    decision = office.manager.wait(identity, 0)
    assert decision.pending
    assert decision.question == identity
    assert len(office.audit("permission")) == 1


def test_nobodys_answer_is_a_denial_that_does_not_count(quick_broker):
    office = Office(quick_broker, Permissions(approval_s=0.2))
    request = asking(*UPLOAD)
    identity = office.manager.decide(request).question
    decision = office.manager.wait(identity, 10)
    assert (decision.granted, decision.pending, decision.reason) == (False, False, UNANSWERED)
    with pytest.raises(PermissionRefused, match="time is over"):
        office.desk.approve(office.operator, identity)
    assert office.desk.pending() == []
    assert not office.redis.exists("switchtower:permissions:denied:local")
    assert office.asked(*UPLOAD) == identity


def test_a_question_that_nobody_remembers_cannot_be_waited_for(office):
    with pytest.raises(PermissionRefused, match="ask again"):
        office.manager.wait(new_identity(), 1)


def test_a_lockdown_while_waiting_denies(office):
    identity = office.asked(*UPLOAD)
    office.desk.approve(office.operator, identity)
    office.locked = True
    assert not office.manager.wait(identity, 1).granted


def test_taint_is_kept_while_waiting(office):
    """The question's taint counts, also where only the decider knew of it."""
    decision = office.manager.decide(asking("file_write", "downloads/a"), Provenance(tainted=True))
    office.desk.approve(office.operator, decision.question)
    told = office.manager.wait(decision.question, 1)
    assert told.granted
    assert told.grant
