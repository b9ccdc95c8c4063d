"""Puts private values back where their placeholders stand, once: what a value holds is not read again."""

from __future__ import annotations

from collections.abc import Mapping

from security.beginnings import Beginnings
from security.redaction.alignment import encodable
from security.redaction.placeholders import read, unfinished


def mentioned(text: str, tag: str) -> bool:
    """Whether anything in the text reads like one of the job's placeholders."""
    return next(read(text, tag), None) is not None


def rehydrate(text: str, entries: Mapping[str, str], tag: str) -> str:
    """The text with the job's values in it; a placeholder without a value stays as it is."""
    pieces, place = [], 0
    for start, end, written in read(text, tag):
        if written in entries:
            pieces += [text[place:start], entries[written]]
            place = end
    return "".join((*pieces, text[place:]))


class Rehydration:
    """The same for a text that comes in pieces; what may be half a placeholder waits for the rest."""

    def __init__(self, entries: Mapping[str, str], tag: str) -> None:
        self._entries = entries
        self._tag = tag
        self._held = ""
        self._begun = Beginnings([unfinished(tag)])

    def feed(self, text: str) -> str:
        """What is certain by now."""
        self._held += text
        place = self._begun.start(encodable(self._held))
        done, self._held = self._held[:place], self._held[place:]
        return rehydrate(done, self._entries, self._tag)

    def flush(self) -> str:
        """What has waited."""
        done, self._held = self._held, ""
        return rehydrate(done, self._entries, self._tag)
