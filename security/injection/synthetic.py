"""Training texts of our own: attacks and harmless requests in many languages, orders hidden in documents.

The public sets are mostly English and say little about what is harmless in other languages. What stands here keeps a
model from taking a language, a trigger word or any order for an attack. The sentences lie in `phrases/*.toml`.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from security.injection.corpus import Row
from switchtower.models import Surface

PHRASES = Path(__file__).parent / "phrases"
_CARRIERS = 350
"""Of one set, so that a large one is not all that is seen."""
_PER_LANGUAGE = 40
_OVERRIDES = 15
"""Of each language."""
_OWN_FIELDS = 800
_PLAIN = 1 / 3
_TASK_LAST = 0.3


def made(rows: Sequence[Row], seed: int = 0) -> list[Row]:
    """Our own rows, the same for the same rows and seed; orders are hidden in the harmless documents among `rows`."""
    dice = random.Random(seed)  # noqa: S311 - a sample, not a secret
    carriers = list(_carriers(rows, dice))
    own = (_attacks(dice), _overrides(dice), _requests(dice), _hidden(carriers, dice), _fields(dice))
    return [*chain.from_iterable(own), *_pasted(carriers, dice)]


def _carriers(rows: Sequence[Row], dice: random.Random) -> Iterator[Row]:
    harmless = [row for row in rows if row.surface is Surface.DOCUMENT and not row.label]
    for name in sorted({row.set for row in harmless}):
        of_set = [row for row in harmless if row.set == name]
        yield from dice.sample(of_set, min(_CARRIERS, len(of_set)))


def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((PHRASES / name).read_text(encoding="utf-8"))


def _attacks(dice: random.Random) -> Iterator[Row]:
    """Each attempt alone, and some of them behind a harmless request in the same language."""
    benign = _table("benign.toml")
    for language, sentences in _table("attacks.toml").items():
        for place, sentence in enumerate(sentences):
            yield Row("own_attacks", f"{language}{place}", sentence, 1)
            yield Row("own_attacks", f"{language}{place}b", f"{_request(benign[language], dice)} {sentence}", 1)


def _overrides(dice: random.Random) -> Iterator[Row]:
    for language, table in _table("overrides.toml").items():
        for place in range(_OVERRIDES):
            words = {name: dice.choice(table[name]) for name in ("order", "object", "wish")}
            yield Row("own_overrides", f"{language}{place}", str(dice.choice(table["frames"])).format(**words), 1)


def _requests(dice: random.Random) -> Iterator[Row]:
    for language, table in _table("benign.toml").items():
        every = [frame.format(topic) for frame in table["frames"] for topic in table["topics"]]
        chosen = [*table.get("plain", []), *dice.sample(every, min(_PER_LANGUAGE, len(every)))]
        for place, text in enumerate(chosen):
            yield Row("own_benign", f"{language}{place}", text, 0)


def _request(table: dict[str, list[str]], dice: random.Random) -> str:
    return dice.choice(table["frames"]).format(dice.choice(table["topics"]))


class _Sentences:
    """Orders and harmless sentences, some of them frames whose blanks are filled at random."""

    def __init__(self, dice: random.Random) -> None:
        table = _table("embedded.toml")
        self._dice, self._slots = dice, table["slots"]
        self._kinds = {
            1: (table["orders"], table["frames"]),
            0: (table["harmless"], table["harmless_frames"]),
        }
        self.fields: list[str] = table["fields"]

    def one(self, label: int) -> str:
        """One sentence; frames, which say more different things, come twice as often."""
        plain, frames = self._kinds[label]
        if self._dice.random() < _PLAIN:
            return str(self._dice.choice(plain))
        filling = {name: self._dice.choice(words) for name, words in self._slots.items()}
        return str(self._dice.choice(frames)).format(**filling)


def _hidden(carriers: Iterable[Row], dice: random.Random) -> Iterator[Row]:
    """Every carrier once with an order and once with a harmless sentence, in the same kind of place."""
    sentences = _Sentences(dice)
    for carrier in carriers:
        for name, label in (("own_orders", 1), ("own_documents", 0)):
            sentence = sentences.one(label)
            text = _inserted(carrier.text, sentence, dice)
            yield Row(name, f"{carrier.set}/{carrier.id}", text, label, instruction=sentence)


def _pasted(carriers: Iterable[Row], dice: random.Random) -> Iterator[Row]:
    """Every carrier as a user pastes it into a prompt, some with a word on what to do with it."""
    tasks = _table("benign.toml")["en"]["tasks"]
    for carrier in carriers:
        parts = [carrier.text, dice.choice(tasks)] if dice.random() < _TASK_LAST else [dice.choice(tasks), carrier.text]
        yield Row("own_pasted", f"{carrier.set}/{carrier.id}", "\n\n".join(parts).strip(), 0)


def _inserted(text: str, sentence: str, dice: random.Random) -> str:
    breaks = [place + 1 for place, sign in enumerate(text[:-1]) if sign in ".\n" and text[place + 1].isspace()]
    place = dice.choice([0, len(text), *dice.sample(breaks, min(2, len(breaks)))])
    gap = dice.choice([" ", "\n"])
    return gap.join(part for part in (text[:place].rstrip(" "), sentence, text[place:].lstrip(" ")) if part)


def _fields(dice: random.Random) -> Iterator[Row]:
    """Orders and harmless sentences as the value of one field of a tool's answer."""
    sentences = _Sentences(dice)
    for place in range(_OWN_FIELDS):
        name, label = (("own_documents", 0), ("own_orders", 1))[place % 2]
        sentence = sentences.one(label)
        text = dice.choice(sentences.fields).format(sentence)
        yield Row(name, f"field{place}", text, label, instruction=sentence)
