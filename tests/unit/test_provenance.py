"""Provenance: what a stranger wrote taints a context for good, and a model has no say in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.provenance import FOREIGN, Origin, Provenance
from switchtower.errors import PermissionRefused
from switchtower.messages import Turn, UserRequest, new_identity

OWN = [origin for origin in Origin if origin not in FOREIGN]
CALL = {"action": "file_write", "resource": "downloads/report.txt", "explanation": "the report"}


@pytest.mark.parametrize("origin", sorted(FOREIGN))
def test_strangers_text_taints(origin):
    assert Provenance().heard(origin).tainted


@pytest.mark.parametrize("origin", OWN)
def test_the_users_the_systems_and_the_models_text_do_not(origin):
    assert not Provenance().heard(origin).tainted


@given(st.lists(st.sampled_from(Origin)), st.lists(st.sampled_from(Origin)))
def test_taint_never_leaves_a_context(before, after):
    context = Provenance()
    for origin in before:
        context = context.heard(origin)
    tainted = context.tainted
    for origin in after:
        context = context.heard(origin)
    assert context.origins == frozenset({*before, *after})
    assert context.tainted == bool(context.origins & FOREIGN)
    assert context.tainted or not tainted


def test_what_a_model_writes_in_tainted_context_taints_whoever_reads_it():
    source = Provenance().heard(Origin.DOCUMENT).heard(Origin.MODEL)
    reader = Provenance().heard(Origin.USER).delegated(source)
    assert reader.tainted
    assert Origin.DELEGATED in reader.origins


def test_a_delegated_task_without_foreign_text_stays_clean():
    assert not Provenance().delegated(Provenance().heard(Origin.USER)).tainted


def test_a_plain_request_is_the_users_own():
    assert Provenance.of(UserRequest(prompt="hello")) == Provenance(origins=frozenset({Origin.USER}))


def test_a_child_job_inherits_and_an_unknown_parent_taints():
    child = UserRequest(prompt="hello", parent=new_identity())
    assert Provenance.of(child).tainted
    assert Provenance.of(child, inherited=Provenance(tainted=True)).tainted
    assert not Provenance.of(child, inherited=Provenance()).tainted


def test_earlier_answers_are_tainted_unless_the_keeper_of_the_conversation_vouches():
    later = UserRequest(prompt="do it", history=(Turn(role="user", text="hi"), Turn(role="assistant", text="ho")))
    assert Provenance.of(later).tainted
    assert not Provenance.of(later, vouched=True).tainted
    assert not Provenance.of(UserRequest(prompt="do it", history=(Turn(role="user", text="hi"),))).tainted


@pytest.mark.parametrize("tainted", [True, False])
def test_a_call_becomes_a_request_with_the_contexts_taint(tainted):
    job = UserRequest(prompt="hello", tenant="acme", user="ann")
    made = Provenance(tainted=tainted).request(job, "writer", CALL)
    assert made.tainted is tainted
    assert (made.job, made.tenant, made.user, made.model) == (job.job, "acme", "ann", "writer")
    assert made.resource == CALL["resource"]


@pytest.mark.parametrize("extra", [{"tainted": False}, {"model": "other"}, {"tenant": "other"}, {"origins": []}])
def test_a_model_says_nothing_of_itself(extra):
    with pytest.raises(PermissionRefused, match="may not say"):
        Provenance(tainted=True).request(UserRequest(prompt="hello"), "writer", CALL | extra)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"action": "format_disk"}, "action"),
        ({"resource": ""}, "resource"),
        ({"resource": 7}, "resource"),
        ({"resource": "\ud800"}, "resource"),
        ({"explanation": "x" * 2001}, "explanation"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_without_quoting_it(wrong, named):
    with pytest.raises(PermissionRefused, match=f"does not fit: {named}$"):
        Provenance().request(UserRequest(prompt="hello"), "writer", CALL | wrong)


def test_an_incomplete_call_is_refused():
    with pytest.raises(PermissionRefused, match="action, explanation"):
        Provenance().request(UserRequest(prompt="hello"), "writer", {"resource": "x"})
