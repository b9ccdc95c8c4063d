"""Which version is live: the rule, the file, and the way back."""

from __future__ import annotations

import json
import threading

import pytest

from switchtower.models import Capability, ModelCard, Provider
from workers.adapters.deployments import (
    FILE,
    AlreadyLive,
    Deployments,
    DeploymentsUnreadable,
    NothingToRollBack,
    Serving,
    family_of,
    versions,
)

NAMES = ["filer-v1", "plain", "sorter-v1", "sorter-v10", "sorter-v2"]


@pytest.fixture
def deployments(tmp_path):
    return Deployments(tmp_path)


def cards(names=NAMES):
    able = frozenset({Capability.INTENT})
    return [ModelCard(name=name, provider=Provider.LOCAL, capabilities=able, adapter=name) for name in names]


def offered(deployments, names=NAMES):
    """The share of each card that is offered by capability."""
    return {card.name: card.share for card in deployments.offered(cards(names)) if card.capabilities}


def deploy(deployments, name, share=None, names=NAMES):
    return deployments.deploy(name, names, share, "better", {"bf16": 0.9})


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("sorter-v2", ("sorter", 2)), ("a-v1-v3", ("a-v1", 3)), ("plain", ("plain", None)), ("x-v0", ("x-v0", None)),
        ("x-v01", ("x-v01", None)), ("x-vy", ("x-vy", None)), ("-v1", ("-v1", None)),
    ],
)  # fmt: skip
def test_a_name_is_a_family_and_a_version(name, family):
    assert family_of(name) == family


def test_versions_are_ordered_by_number():
    assert versions("sorter", NAMES) == ["sorter-v1", "sorter-v2", "sorter-v10"]


def test_without_a_file_the_lowest_version_of_each_family_is_live(deployments):
    assert offered(deployments) == {"filer-v1": 1, "plain": 1, "sorter-v1": 1}


def test_what_is_not_live_keeps_its_name_and_loses_its_capabilities(deployments):
    found = {card.name: card for card in deployments.offered(cards())}
    assert found["sorter-v2"].capabilities == frozenset()
    assert found["sorter-v2"].adapter == "sorter-v2"


def test_a_deployed_version_is_live_at_once(deployments):
    assert deploy(deployments, "sorter-v2") == Serving(live="sorter-v2")
    assert offered(deployments) == {"filer-v1": 1, "plain": 1, "sorter-v2": 1}


def test_a_share_splits_the_traffic_and_leaves_the_live_version_live(deployments):
    assert deploy(deployments, "sorter-v2", 0.1).live == "sorter-v1"
    assert offered(deployments) == {"filer-v1": 1, "plain": 1, "sorter-v1": 0.9, "sorter-v2": 0.1}


def test_rolling_back_twice_returns_to_the_one_before_that(deployments):
    deploy(deployments, "sorter-v2", 0.1)
    deploy(deployments, "sorter-v2")
    deploy(deployments, "sorter-v10")
    backwards = [deployments.rollback("sorter", NAMES) for _ in range(3)]
    assert backwards == [
        Serving(live="sorter-v2"), Serving(live="sorter-v1", trial="sorter-v2", share=0.1), Serving(live="sorter-v1"),
    ]  # fmt: skip
    with pytest.raises(NothingToRollBack, match="sorter"):
        deployments.rollback("sorter", NAMES)


def test_a_deployment_after_a_rollback_is_what_the_next_rollback_undoes(deployments):
    deploy(deployments, "sorter-v2")
    deployments.rollback("sorter", NAMES)
    deploy(deployments, "sorter-v10")
    assert deployments.rollback("sorter", NAMES).live == "sorter-v1"


@pytest.mark.parametrize(("name", "share"), [("sorter-v1", None), ("sorter-v1", 0.5)])
def test_deploying_what_is_live_changes_nothing(deployments, tmp_path, name, share):
    with pytest.raises(AlreadyLive, match="sorter-v1"):
        deploy(deployments, name, share)
    assert not (tmp_path / FILE).exists()


def test_deploying_the_live_version_again_ends_a_trial(deployments):
    deploy(deployments, "sorter-v2", 0.1)
    assert deploy(deployments, "sorter-v1") == Serving(live="sorter-v1")


def test_the_history_keeps_reason_and_scores(deployments):
    deploy(deployments, "sorter-v2")
    entry = deployments.read()["sorter"].history[-1]
    assert (entry.action, entry.before.live, entry.after.live) == ("deploy", "sorter-v1", "sorter-v2")
    assert (entry.reason, entry.scores) == ("better", {"bf16": 0.9})


def test_a_live_version_whose_folder_is_gone_gives_way_to_the_lowest(deployments):
    deploy(deployments, "sorter-v2", 0.5)
    deploy(deployments, "sorter-v10")
    assert offered(deployments, ["sorter-v1", "sorter-v2"]) == {"sorter-v1": 1}


def test_a_trial_whose_folder_is_gone_leaves_all_to_the_live_one(deployments):
    deploy(deployments, "sorter-v2", 0.5)
    assert offered(deployments, ["sorter-v1"]) == {"sorter-v1": 1}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"families": {"sorter": {"serving": {}}}}', '{"families": 1}'])
def test_an_unreadable_file_is_refused_by_commands_and_left_alone(deployments, tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(DeploymentsUnreadable, match=FILE):
        deploy(deployments, "sorter-v2")
    assert (tmp_path / FILE).read_text() == text


def test_a_worker_that_knew_a_file_goes_on_when_it_becomes_unreadable(deployments, tmp_path):
    deploy(deployments, "sorter-v2")
    before = offered(deployments)
    (tmp_path / FILE).write_text("{")
    assert offered(deployments) == before


def test_changes_at_the_same_time_all_count(deployments, tmp_path):
    names = [f"family{number}-v{version}" for number in range(8) for version in (1, 2)]

    def change(number):
        Deployments(tmp_path).deploy(f"family{number}-v2", names, None, "", {})

    threads = [threading.Thread(target=change, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(offered(deployments, names)) == {f"family{number}-v2" for number in range(8)}
    assert len(json.loads((tmp_path / FILE).read_text())["families"]) == 8
    assert [path.name for path in tmp_path.glob(f".{FILE}.*")] == [f".{FILE}.lock"]
