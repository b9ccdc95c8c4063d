"""The whole line on a model server: the same jobs, answered elsewhere in the house, and stopped there as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="a model's server needs the extra [cloud]")

from security.lockdown import engage
from switchtower import Privacy, Sampling, State, UserRequest
from switchtower.errors import DeliveryCapExceeded, JobCancelled
from switchtower.registry import announced
from tests.conftest import expect_no_leak
from tests.support.harness import LINE, Harness, harness
from tests.support.openai_server import BASE, OpenAIServer, Reply, openai_server
from tests.support.wait import until
from workers.supervisor import Supervisor, worker_command
from workers.system import wait_ready

INTENT, CONTENT = "intent-classification-v1", "content-generation-v1"
SLOW = Reply("word " * 200, pause_s=0.02)


@dataclass(frozen=True)
class Outgrown:
    """A line whose gpu worker has a server in the place of a model."""

    made: Harness
    server: OpenAIServer

    def submit(self, prompt: str, *replies: Reply, **fields: object) -> str:
        """Hand in a job, and lay down how the server will answer it."""
        self.server.replies.extend(replies)
        return self.made.client.submit(UserRequest(prompt=prompt, **fields))

    def begun(self, job: str) -> None:
        """Wait until some of the answer is out."""
        until(lambda: any(event.kind == "token" for event in self.made.client.ledger.events(job)), self.made.logs)

    def served(self) -> set[str]:
        """The models that are announced as living."""
        return {one.card.name for one in announced(self.made.redis) if one.alive(heartbeat_s=1)}

    def asked(self) -> int:
        return len(self.server.requests)


@pytest.fixture(scope="module")
def outgrown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outgrown]:
    line = LINE.model_copy(update={"max_deliveries": 2})
    with openai_server() as server, harness(tmp_path_factory.mktemp("outgrown"), line) as made:
        server.models |= {INTENT: {"parent": BASE}}
        made.supervisor.start("gpu", *worker_command("gpu"), SWITCHTOWER_LOCAL__SERVER_URL=server.url)
        made.start("guardrail", "router", "upkeep")
        wait_ready(made.settings, made.supervisor, ["gpu"])
        yield Outgrown(made, server)
        expect_no_leak(made)


@pytest.fixture(autouse=True)
def clean(outgrown):
    outgrown.server.replies.clear()
    outgrown.server.hung_up.clear()


def test_a_job_goes_to_the_adapter_that_can_do_it(outgrown):
    job = outgrown.submit("Classify this request: where is my invoice?")
    result = outgrown.made.client.result(job, timeout=30)
    assert (result.model, result.adapter) == (INTENT, INTENT)
    assert result.text == f"{INTENT} has read it all ."
    asked = outgrown.server.requests[-1]
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert "label" in asked["messages"][0]["content"], "the system prompt comes from the adapter's card"


def test_a_job_may_name_its_model_and_its_sampling(outgrown):
    sampling = Sampling(max_tokens=5, temperature=0.7, seed=11, stop=("END",))
    job = outgrown.submit("Hello there", model=INTENT, sampling=sampling, privacy=Privacy.MAXIMUM)
    result = outgrown.made.client.result(job, timeout=30)
    assert (result.adapter, result.usage.prompt_tokens, result.usage.completion_tokens) == (INTENT, 7, 6)
    assert result.usage.cost > 0
    asked = outgrown.server.requests[-1]
    said = (asked["model"], asked["max_tokens"], asked["temperature"], asked["seed"], asked["stop"])
    assert said == (INTENT, 5, 0.7, 11, ["END"])


def test_an_answer_is_streamed_as_it_arrives(outgrown):
    job = outgrown.submit("Tell me something", Reply(pause_s=0.05))
    pieces = list(outgrown.made.client.stream(job, timeout=30))
    assert len(pieces) > 2
    assert "".join(pieces) == outgrown.made.client.result(job).text == f"{BASE} has read it all ."


def test_cancel_ends_the_servers_work(outgrown):
    job = outgrown.submit("Never mind", SLOW)
    outgrown.begun(job)
    assert outgrown.made.client.cancel(job) == [job]
    until(lambda: outgrown.server.hung_up == [BASE], "the end of the connection")
    with pytest.raises(JobCancelled):
        outgrown.made.client.result(job, timeout=30)


def test_lockdown_ends_the_servers_work_and_release_lets_the_job_start_again(outgrown):
    job = outgrown.submit("Hold the line", Reply(hangs_after=2))
    until(lambda: outgrown.server.requests[-1]["messages"][-1]["content"] == "Hold the line", "the request")
    asked = outgrown.asked()
    engage(outgrown.made.redis, "a drill", "me")
    until(lambda: outgrown.server.hung_up == [BASE], "the end of the connection", seconds=1.5)
    until(lambda: outgrown.made.client.status(job).state is State.QUEUED, "the hand-back")
    assert outgrown.asked() == asked
    outgrown.made.release()
    assert outgrown.made.client.result(job, timeout=30).text == f"{BASE} has read it all ."


def test_an_answer_that_was_cut_off_is_none_and_the_job_is_asked_again(outgrown):
    job = outgrown.submit("Cut me off", Reply(cut_after=3))
    result = outgrown.made.client.result(job, timeout=30)
    assert result.text == f"{BASE} has read it all ."
    handed = [event.data.get("handed_back") for event in outgrown.made.client.ledger.events(job)]
    assert "ModelUnavailable" in handed


def test_a_request_that_breaks_the_server_does_not_come_back_for_ever(outgrown):
    asked = outgrown.asked()
    job = outgrown.submit("Break", *[Reply(finish=None)] * 2)
    with pytest.raises(DeliveryCapExceeded):
        outgrown.made.client.result(job, timeout=30)
    assert outgrown.asked() == asked + 2


def test_a_busy_server_is_left_alone_as_long_as_it_asks(outgrown):
    job = outgrown.submit("Busy?", Reply(status=429, headers={"retry-after": "2"}))
    assert outgrown.made.client.result(job, timeout=30).text == f"{BASE} has read it all ."
    refused, answered = outgrown.server.times[-2:]
    assert answered - refused >= 2


def test_a_server_that_is_busy_is_nobodys_fault(outgrown):
    asked = outgrown.asked()
    job = outgrown.submit("Still busy?", *[Reply(status=503)] * 3)
    assert outgrown.made.client.result(job, timeout=30).text == f"{BASE} has read it all ."
    assert outgrown.asked() == asked + 4, "more often than max_deliveries"


def test_jobs_wait_for_a_server_that_is_down(outgrown):
    outgrown.server.stop()
    try:
        job = outgrown.submit("Are you there?")
        until(lambda: outgrown.made.said("does not answer"), "the worker to notice")
        until(lambda: outgrown.made.client.status(job).state in {State.QUEUED, State.RUNNING}, "the job to wait")
    finally:
        outgrown.server.start()
    assert outgrown.made.client.result(job, timeout=30).text == f"{BASE} has read it all ."


def test_what_is_announced_is_what_the_server_has(outgrown):
    until(lambda: outgrown.served() == {BASE, INTENT}, "the living models")
    assert outgrown.made.said(f"server lacks ambiguity-aware-v1, {CONTENT}")
    cards = {one.card.name: one.card for one in announced(outgrown.made.redis)}
    assert cards[INTENT].context_tokens == cards[BASE].context_tokens == 4096
    outgrown.server.models[CONTENT] = {}
    until(lambda: CONTENT in outgrown.served(), "the adapter that the server has now")
    job = outgrown.submit("Hello", model=CONTENT)
    assert outgrown.made.client.result(job, timeout=30).text == f"{CONTENT} has read it all ."


def test_the_worker_loads_no_torch(outgrown):
    maps = Path(f"/proc/{outgrown.made.supervisor.processes['gpu'].pid}/maps").read_text()
    assert "libpython" in maps or "python" in maps
    assert "libtorch" not in maps


def test_a_server_outside_the_house_is_refused_at_the_start(outgrown, tmp_path):
    supervisor = Supervisor(outgrown.made.settings, tmp_path)
    supervisor.start("gpu", *worker_command("gpu"), SWITCHTOWER_LOCAL__SERVER_URL="http://203.0.113.7:8000/v1")
    assert supervisor.processes["gpu"].wait(30) != 0
    assert "private texts must not leave" in " ".join((tmp_path / "gpu.log").read_text().split())
