"""Writes every agent's training and held-out sets from its `source.toml`, the same lines each time.

    python adapters/make_data.py

All text is our own. The held-out set is built from other templates and other words than the training set.
"""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEED = 20
TRAIN = {"ambiguity-aware-v1": 800}
"""Records of a training set, where it is not the usual number."""
USUAL, HELDOUT = 480, 480
TRIGGERED = 0.7
"""The share of workflows that start by themselves."""

Record = dict[str, Any]
Words = dict[str, list[str]]


def filled(template: str, words: Words, rng: random.Random) -> str:
    """The template with one word drawn for each slot that it names."""
    return template.format(**{slot: rng.choice(choices) for slot, choices in words.items()})


def upper_first(text: str) -> str:
    """The text as a sentence begins."""
    text = text.strip(" ,:")
    return text[:1].upper() + text[1:]


def intent(source: Record, split: str, turn: int, rng: random.Random) -> Record:
    """A request and its label; labels take turns, so that all are equally frequent."""
    templates = source[split]["templates"]
    label = list(templates)[turn % len(templates)]
    return {"prompt": filled(rng.choice(templates[label]), source[split]["words"], rng), "answer": label}


def workflow(source: Record, split: str, _turn: int, rng: random.Random) -> Record:
    """A request and the steps that it names, in their order."""
    order, phrases, frames = source["order"], source[split]["phrases"], source[split]["frames"]
    steps = [rng.choice(order["trigger"])] if rng.random() < TRIGGERED else []
    steps.append(rng.choice(order["source"]))
    steps += sorted(rng.sample(order["change"], rng.choice([0, 1, 1, 2])), key=lambda _: rng.random())
    steps.append(rng.choice(order["ending"]))
    said = [rng.choice(phrases[step]) for step in steps]
    text = rng.choice(frames["openings"]) + said[0]
    for clause in said[1:-1]:
        text += rng.choice(frames["connectors"]) + clause
    text += rng.choice(frames["last"]) + said[-1]
    return {"prompt": upper_first(text) + ".", "answer": json.dumps(steps)}


def content(source: Record, split: str, _turn: int, rng: random.Random) -> Record:
    """Rough notes, the announcement that they ask for, and the facts that must be in it."""
    part = source[split]
    facts = {slot: rng.choice(part[slot]) for slot in ("event", "date", "time", "place", "remark", "person")}
    answer = (
        f"# {upper_first(facts['event'])}\nWhen: {facts['date']}, {facts['time']}\nWhere: {facts['place']}\n"
        f"Good to know: {upper_first(facts['remark'])}.\nContact: {facts['person']}"
    )
    return {"prompt": rng.choice(part["templates"]).format(**facts), "answer": answer, "facts": list(facts.values())}


def filing(source: Record, split: str, turn: int, rng: random.Random) -> Record:
    """A note, its folder and its two tags; folders take turns."""
    folders = source[split]["folders"]
    folder = list(folders)[turn % len(folders)]
    subject, aspect = rng.choice(folders[folder]["subject"]), rng.choice(folders[folder]["aspect"])
    note = rng.choice(source[split]["templates"]).format(subject=subject, aspect=aspect)
    answer = json.dumps({"folder": folder, "tags": [subject.lower(), aspect.lower()]})
    return {"prompt": upper_first(note), "answer": answer}


def clarification(source: Record, split: str, turn: int, rng: random.Random) -> Record:
    """A request for a text; complete, without a subject, without an audience and without a deadline take turns."""
    part, names = source[split], list(source["questions"])
    missing = [None, *names][turn % 4]
    words = {name: "" if name == missing else " " + rng.choice(part[name]) for name in names}
    prompt = upper_first(rng.choice(part["templates"]).format(text=rng.choice(part["text"]), **words))
    answer = source["questions"][missing] if missing else "clear"
    return {"prompt": prompt, "answer": answer, "facts": [missing] if missing else []}


MAKERS: dict[str, Callable[[Record, str, int, random.Random], Record]] = {
    "intent-classification-v1": intent,
    "workflow-builder-v1": workflow,
    "content-generation-v1": content,
    "knowledge-org-v1": filing,
    "ambiguity-aware-v1": clarification,
}


def size(name: str, split: str) -> int:
    """How many records a set has."""
    return HELDOUT if split == "heldout" else TRAIN.get(name, USUAL)


def records(name: str, split: str) -> Iterator[Record]:
    """The agent's records, without a prompt that stands twice as long as fresh ones can be found."""
    source = tomllib.loads((HERE / name / "source.toml").read_text())
    rng = random.Random(f"{SEED} {name} {split}")  # noqa: S311 - examples, not secrets
    seen: set[str] = set()
    for turn in range(size(name, split)):
        for _ in range(50):
            record = MAKERS[name](source, split, turn, rng)
            if record["prompt"] not in seen:
                break
        seen.add(record["prompt"])
        yield record


def main() -> None:
    """Write ten files."""
    for name in MAKERS:
        for split in ("train", "heldout"):
            lines = [json.dumps(record, ensure_ascii=False) for record in records(name, split)]
            (HERE / name / "data" / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
