"""What stands in a private value's place: `[EMAIL_1_kq7xm]`.

Kind, number, and a tag that follows from the job, so that no job's placeholder means anything in another. A model may
write it a little differently: in another case, with spaces, hyphens or Markdown's backslashes in the underscores'
place, without the brackets. All of these are read as the placeholder, in an answer as well as in a request: what reads
like one of the job's own placeholders in a request is a private value itself, and so cannot pose as another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import re2

from security.redaction.alignment import encodable
from security.redaction.entities import Kind
from security.redaction.pattern import any_of, compiled

LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
"""What a tag is made of; without `i`, `l`, `o`, `0` and `1`, which get mistaken."""
TAG_LENGTH = 5

_KINDS = any_of(*Kind)
_GAP = r"[\s_\\*`~:.-]{0,3}"


class Placeholder(NamedTuple):
    """A placeholder as it was read at `start:end` of a text, and how it is written properly."""

    start: int
    end: int
    written: str


def tag_of(job: str) -> str:
    """The job's tag: the same for everyone who computes it."""
    digest = hashlib.blake2b(job.encode(), digest_size=TAG_LENGTH, person=b"placeholder").digest()
    return "".join(LETTERS[byte % len(LETTERS)] for byte in digest)


def written(kind: str, number: int, tag: str) -> str:
    """The placeholder as it is put into a text."""
    return f"[{kind}_{number}_{tag}]"


def pattern(tag: str) -> str:
    """The RE2 pattern of all readings of a job's placeholders, brackets aside; its groups are kind and number."""
    return rf"({_KINDS}){_GAP}(\d{{1,5}}){_GAP}(?i:{tag})"


def unfinished(tag: str) -> str:
    """The RE2 pattern of a placeholder with all that decides where it ends."""
    return rf"\[?{pattern(tag)}\]?\(?"


def read(text: str, tag: str) -> Iterator[Placeholder]:
    """The job's placeholders in a text, with their brackets, in time linear in the text."""
    for match in _compiled(tag).finditer(encodable(text)):
        kind, number = match.groups()
        start, end = match.span()
        if text[start - 1 : start] == "[" and text[end : end + 1] == "]" and text[end + 1 : end + 2] != "(":
            start, end = start - 1, end + 1  # before `(` the brackets are a Markdown link's
        yield Placeholder(start, end, written(kind.upper(), int(number), tag))


@lru_cache(maxsize=64)
def _compiled(tag: str) -> re2._Regexp:
    return compiled(pattern(tag))
