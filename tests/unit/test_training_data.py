"""Records, recipes, metrics, and the sets that ship with the adapters."""

import importlib.util
import json
import tomllib
from pathlib import Path

import pytest

from workers.training.errors import TrainingDataError
from workers.training.metrics import METRICS, announcement, clarification, exact, filing, mean_score, steps
from workers.training.recipes import Recipe, read_job, read_recipe
from workers.training.records import Record, read_records

SHELF = Path(__file__).parents[2] / "adapters"
AGENTS = sorted(recipe.parent.name for recipe in SHELF.glob("*/recipe.toml"))


def written(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def test_good_lines_are_read_and_blank_ones_skipped(tmp_path):
    file = written(tmp_path / "a.jsonl", '{"prompt": "p", "answer": "a"}', "", '{"prompt": "q", "answer": "b"}')
    assert [record.prompt for record in read_records(file)] == ["p", "q"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Invalid JSON"), ('{"prompt": "p"}', "answer: Field required"), ('["p", "a"]', "should be an object"),
        ('{"prompt": "", "answer": "a"}', "prompt: String should have at least 1"),
        ('{"prompt": 1, "answer": "a"}', "prompt: Input should be a valid string"),
        ('{"prompt": "p", "answer": "a", "weight": 2}', "weight: Extra inputs"),
    ],
)  # fmt: skip
def test_a_bad_line_is_refused_with_its_place_and_reason(tmp_path, line, reason):
    file = written(tmp_path / "a.jsonl", '{"prompt": "p", "answer": "a"}', line)
    with pytest.raises(TrainingDataError) as caught:
        read_records(file)
    assert str(caught.value).startswith(f"{file}:2: ")
    assert reason in str(caught.value)


def test_a_line_that_is_not_utf8_is_refused_with_its_place(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"prompt": "\xff", "answer": "a"}\n')
    with pytest.raises(TrainingDataError, match=r"a\.jsonl:1: "):
        read_records(file)


def test_an_empty_and_a_missing_file_are_refused(tmp_path):
    for file in (written(tmp_path / "empty.jsonl"), tmp_path / "missing.jsonl"):
        with pytest.raises(TrainingDataError, match=file.name):
            read_records(file)


def test_without_a_heldout_file_a_fifth_is_held_out(tmp_path):
    data = written(tmp_path / "a.jsonl", *(json.dumps({"prompt": f"p{n}", "answer": "a"}) for n in range(10)))
    job = read_job(tmp_path / "mine-v1", data)
    assert (len(job.train), len(job.heldout)) == (8, 2)
    assert not set(job.train) & set(job.heldout)


def test_what_is_given_wins_over_the_recipe(tmp_path):
    file = written(tmp_path / "recipe.toml", "rank = 2", "epochs = 3")
    recipe = read_recipe(file, {"epochs": 1, "seed": None})
    assert (recipe.rank, recipe.epochs, recipe.seed) == (2, 1, Recipe().seed)


@pytest.mark.parametrize("line", ["rank = 0", 'metric = "vibes"', "colour = 1", "rank ="])
def test_a_bad_recipe_is_refused_with_its_file(tmp_path, line):
    with pytest.raises(TrainingDataError, match=r"recipe\.toml"):
        read_recipe(written(tmp_path / "recipe.toml", line), {})


def record(answer, *facts):
    return Record(prompt="p", answer=answer, facts=facts)


def test_exact_forgives_case_and_space_only():
    assert exact(" Other\n", record("other")) == 1
    assert exact("other.", record("other")) == 0


@pytest.mark.parametrize(
    ("answer", "score"),
    [('["a", "b"]', 1), ('["b", "a"]', 0.5), ('["a"]', 2 / 3), ("[]", 0), ("a, b", 0), ('{"a": 1}', 0), ("[1, 2]", 0)],
)
def test_steps_count_in_their_order(answer, score):
    assert steps(answer, record('["a", "b"]')) == pytest.approx(score)


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"folder": "Home", "tags": ["Roof", "leak"]}', 1), ('{"folder": "Work", "tags": ["roof", "leak"]}', 0.5),
        ('{"folder": "Home", "tags": []}', 0.5), ('{"folder": "Home"}', 0),
        ('{"folder": [], "tags": 1}', 0), ("Home", 0),
    ],
)  # fmt: skip
def test_filing_is_half_folder_half_tags(answer, score):
    assert filing(answer, record('{"folder": "Home", "tags": ["roof", "leak"]}')) == pytest.approx(score)


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("# Fair\nWhen: noon", 1), ("# Fair\nWhen: late", 0.5), ("# noon\nWhen: Fair", 0), ("Fair\nWhen: noon", 0),
        ("# Fair\nWhen: noon\nBye!", 0), ("# fair at noon", 0), ("", 0),
    ],
)  # fmt: skip
def test_an_announcement_needs_its_form_and_each_fact_in_its_line(answer, score):
    assert announcement(answer, record("# Fair\nWhen: noon", "fair", "noon")) == pytest.approx(score)


@pytest.mark.parametrize(
    ("facts", "answer", "score"),
    [
        ([], "Clear.", 1), ([], "It is clear", 0), (["audience"], "Who is the audience?", 1),
        (["audience"], "clear", 0), (["audience"], "Which audience and deadline?", 0),
        (["audience"], "Which audience? By when?", 0),
    ],
)  # fmt: skip
def test_a_clarification_names_what_is_missing_and_nothing_else(facts, answer, score):
    assert clarification(answer, record("x", *facts)) == score


def test_the_mean_is_over_all_records():
    assert mean_score("exact", ["a", "b"], [record("a"), record("a")]) == 0.5


@pytest.mark.parametrize("name", AGENTS)
def test_each_shipped_reference_scores_full_marks(name):
    job = read_job(SHELF / name)
    for one in (*job.train, *job.heldout):
        assert METRICS[job.recipe.metric](one.answer, one) == 1


@pytest.mark.parametrize("name", AGENTS)
def test_held_out_prompts_are_not_training_prompts(name):
    job = read_job(SHELF / name)
    asked = {one.prompt for one in job.heldout}
    assert len(asked) == len(job.heldout) >= 400
    assert not {one.prompt for one in job.train} & asked


def strings(value):
    if isinstance(value, str):
        return {value}
    parts = value.values() if isinstance(value, dict) else value
    return {text for part in parts for text in strings(part)}


@pytest.mark.parametrize("name", AGENTS)
def test_held_out_sets_use_other_templates_and_other_words(name):
    source = tomllib.loads((SHELF / name / "source.toml").read_text())
    assert strings(source["train"]) & strings(source["heldout"]) <= {""}


@pytest.mark.parametrize("name", AGENTS)
def test_the_shipped_sets_are_the_ones_that_the_script_writes(name):
    spec = importlib.util.spec_from_file_location("make_data", SHELF / "make_data.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for split in ("train", "heldout"):
        lines = (SHELF / name / "data" / f"{split}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == list(script.records(name, split))
