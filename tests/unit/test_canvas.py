"""What may hang on a job: read from what anybody may have written, and made anew."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from switchtower.errors import MalformedEnvelope
from switchtower.messages import new_identity
from switchtower.queues import REVIEW, ROUTE, SCREEN, TRAIN, is_own, step_id
from tasks.canvas import Canvas, read
from tasks.line import LINE
from tests.support.canvases import UNLAWFUL, own
from tests.support.raw import foreign

JOB = new_identity()
APP = Celery("nobody", set_as_current=False)
EVERYTHING = {
    "link": [foreign("their.link", "mine")],
    "link_error": [foreign("their.alarm", "mine")],
    "chord": foreign("their.join", "mine", task_id="x", group_id="g"),
    "group_id": "g",
    "group_index": 0,
}


def canvas_of(chain, wire=SCREEN, queues=(), **embed):
    return read({"chain": chain, **embed}, {}, wire, queues)


def names(steps):
    return [step["task"] for step in steps]


def test_a_message_without_any_gets_the_rest_of_the_line():
    canvas = read(None, {}, SCREEN, ())
    assert canvas == Canvas(links=[], errbacks=[], tail=[])
    assert names(canvas.steps(APP, JOB, SCREEN)) == [REVIEW, ROUTE]
    assert canvas.stored() == ""


def test_all_that_may_hang_on_a_job_is_kept_at_its_last_station():
    canvas = canvas_of([foreign("their.end", "mine"), own(**EVERYTHING), own(ROUTE)])
    end, review, route = canvas.steps(APP, JOB, SCREEN)
    assert names((end, review, route)) == ["their.end", REVIEW, ROUTE]
    kept = {name: review["options"][name] for name in EVERYTHING}
    assert kept["group_index"] == 0
    assert [one["task"] for one in (*kept["link"], *kept["link_error"], kept["chord"])] == [
        "their.link",
        "their.alarm",
        "their.join",
    ]
    assert route["options"]["link_error"] == kept["link_error"]
    assert route["options"]["task_id"] == step_id(JOB, ROUTE)
    assert "link" not in route["options"]


def test_at_the_last_station_it_stands_in_the_message_itself():
    canvas = canvas_of([own(**EVERYTHING), own(ROUTE)])
    embed = canvas.embed(APP, JOB, REVIEW)
    again = read(embed, {"group": canvas.group, "group_index": canvas.index}, REVIEW, ())
    assert again == canvas
    assert embed["chain"] == []


@pytest.mark.parametrize("wire", [wire for wire in LINE if wire != TRAIN])
def test_what_the_ledger_keeps_gives_the_same_canvas_at_every_station(wire):
    canvas = canvas_of([foreign("their.end", "mine"), own(**EVERYTHING), own(ROUTE)])
    assert canvas_of(json.loads(canvas.stored()), wire) == canvas


@pytest.mark.parametrize("step", [foreign("their.end", "mine"), own()])
def test_nothing_may_follow_a_training(step):
    with pytest.raises(MalformedEnvelope, match="nothing may follow"):
        canvas_of([step], TRAIN)


def test_a_chain_of_plain_tasks_may_be_a_chords_body():
    body = {"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": [foreign(), foreign()]}, "options": {}}
    canvas = canvas_of([own(chord=body)])
    assert canvas.chord["kwargs"]["tasks"] == [foreign() | {"immutable": False}] * 2


def test_where_queues_are_named_no_other_may_be_called():
    assert canvas_of([own(link=[foreign(place="mine")])], queues=["mine"]).links
    with pytest.raises(MalformedEnvelope, match="extra_queues"):
        canvas_of([own(link=[foreign(place="other")])], queues=["mine"])


def test_a_queue_can_be_called_by_its_name_alone():
    called = {"task": "their.task", "options": {"queue": "mine", "priority": 3}}
    assert canvas_of([own(link=[called])]).links[0]["options"] == {"queue": "mine", "priority": 3}


def test_what_the_sender_says_of_origins_is_dropped():
    said = foreign(reply_to="me", root_id="r", parent_id="p", argsrepr="secret", stamped_headers=["x"])
    assert canvas_of([own(link=[said])]).links[0]["options"] == {"exchange": "loot", "routing_key": "loot"}


@pytest.mark.parametrize("name", UNLAWFUL)
def test_a_canvas_that_the_line_would_not_make_is_refused(name):
    with pytest.raises(MalformedEnvelope):
        read(UNLAWFUL[name], {}, SCREEN, ())


# -- whatever it is -----------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PLACES = st.sampled_from(["mine", "guardrail", "gpu", "cloud.x", "celery.pidbox", "a:b", ""])
OPTIONS = st.fixed_dictionaries(
    {}, optional={"queue": PLACES, "exchange": PLACES, "routing_key": PLACES, "task_id": VALUES}
)
TASKS = st.sampled_from(["their.task", SCREEN, ROUTE, REVIEW, "celery.map", "switchtower.x", ""])
PLAIN = st.fixed_dictionaries({"task": TASKS, "options": OPTIONS}, optional={"args": VALUES, "kwargs": VALUES})
CALLS = PLAIN | VALUES
STEPS = st.fixed_dictionaries(
    {"task": TASKS},
    optional={
        "options": st.dictionaries(
            st.sampled_from(["link", "chord", "link_error", "group_id"]), CALLS | st.lists(CALLS)
        )
    },
)
EMBEDS = st.fixed_dictionaries(
    {},
    optional={
        "chain": st.lists(STEPS, max_size=4) | VALUES,
        "callbacks": st.lists(CALLS, max_size=3) | VALUES,
        "errbacks": st.lists(CALLS, max_size=3) | VALUES,
        "chord": CALLS,
    },
)


@given(EMBEDS | VALUES, st.dictionaries(st.sampled_from(["group", "group_index"]), VALUES), st.sampled_from(list(LINE)))
def test_nothing_but_foreign_tasks_for_foreign_queues_comes_through(embed, headers, wire):
    """And what is refused is refused by its name, whatever was written."""
    with suppress(MalformedEnvelope):
        canvas = read(embed, headers, wire, ())
        for one in (*canvas.links, *canvas.errbacks, *canvas.tail, *([canvas.chord] if canvas.chord else ())):
            options = one["options"]
            assert not one["task"].startswith(("switchtower.", "celery."))
            assert not is_own(options.get("queue") or options["routing_key"])
        steps = [name for name in names(canvas.steps(APP, JOB, wire)) if name in LINE]
        assert steps == [name for name in (REVIEW, ROUTE) if name in steps]
        json.dumps(canvas.embed(APP, JOB, wire))
