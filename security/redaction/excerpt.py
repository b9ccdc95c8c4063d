"""The beginning of a judged text as the audit may keep it, where policy allows any of it."""

from __future__ import annotations

from functools import cache

from security.redaction.placeholders import tag_of
from security.redaction.redactor import Redactor

LENGTH = 200


def excerpt(text: str, job: str) -> str:
    """At most 200 characters of the text, its private values replaced by placeholders."""
    # All of it is redacted before any is cut off, so that no value is cut in two and not known for one.
    return _redactor().redact(text, tag_of(job)).text[:LENGTH]


@cache
def _redactor() -> Redactor:
    return Redactor()
