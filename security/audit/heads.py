"""Signed heads: a file outside of the database that says how far the chain went, in the auditor's name.

One envelope a line, appended and synced. Who rewrites the table from some row on, or cuts off its end,
contradicts a head that stands here; to contradict none he needs the auditor's key and this file as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field

from security.audit.rows import Mark
from switchtower.envelope import KeyRing, Role, Signer, check_address, parse, unpack, verify
from switchtower.errors import AuditBroken, EnvelopeRefused
from switchtower.messages import Envelope, Hash, Message, new_identity, now_ms
from switchtower.queues import AUDITED
from switchtower.settings import Settings

HEAD = f"{AUDITED}.head"
"""The wire name that heads are sealed for."""

_LIMIT = 4096
_TAIL = 16 * _LIMIT
_STANDING_MS = 10 * 365 * 86_400_000


class Head(Message):
    """The auditor's word that the row `seq` bears this hash."""

    kind: Literal["audit_head"] = "audit_head"
    seq: int = Field(gt=0)
    hash: Hash

    @property
    def mark(self) -> Mark:
        return Mark(self.seq, self.hash)


class Line(NamedTuple):
    """A line of the mirror, as it was found."""

    text: str
    head: Head


class Mirror:
    """The file of signed heads, read with the ring that must know the auditor's key."""

    def __init__(self, path: Path, ring: KeyRing) -> None:
        self.path = path
        self._ring = ring

    @classmethod
    def of(cls, settings: Settings) -> Mirror:
        """This deployment's mirror; raises `ConfigurationError` where there is no key ring."""
        path = settings.audit.heads or settings.home / "audit" / "heads.jsonl"
        return cls(path, KeyRing.load(settings.security.keys_directory))

    def latest(self) -> Head | None:
        """The newest head whose signature is good; raises `OSError`."""
        for text in reversed(self._tail().splitlines()):
            with suppress(AuditBroken):
                return opened(text, self._ring, str(self.path))
        return None

    def find(self, digest: str) -> Head | None:
        """The head of this hash, where it was ever signed; raises `OSError`."""
        for _, text in self._lines():
            if digest in text:
                with suppress(AuditBroken):
                    head = opened(text, self._ring, str(self.path))
                    if head.hash == digest:
                        return head
        return None

    def all(self) -> Iterator[Line]:
        """Every head in turn; raises `AuditBroken` at a line that the auditor did not write, and `OSError`."""
        last = 0
        for number, text in self._lines():
            head = opened(text, self._ring, f"{self.path}:{number}")
            if head.seq < last:
                raise AuditBroken(f"{self.path}:{number}: the head {head.seq} stands after the head {last}")
            last = head.seq
            yield Line(text, head)

    def signed(self) -> dict[int, str]:
        """The signed hashes by row number; raises as `all` does."""
        return {line.head.seq: line.head.hash for line in self.all()}

    def append(self, mark: Mark, signer: Signer) -> None:
        """Sign the head and put it on the disk before returning; raises `OSError`."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _drop_half_line(descriptor)
            os.write(descriptor, f"{sealed_head(mark, signer)}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """The whole lines; half a one at the end is of a crash, or is just being written."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8", errors="replace") as file:
            yield from ((number, text[:-1]) for number, text in enumerate(file, 1) if text.endswith("\n"))

    def _tail(self) -> str:
        """The last whole lines."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(-min(os.fstat(file.fileno()).st_size, _TAIL), os.SEEK_END)
            return file.read().rpartition(b"\n")[0].decode(errors="replace")


def sealed_head(mark: Mark, signer: Signer) -> str:
    """One line of the mirror, without its end."""
    identity = new_identity()
    head = Head(id=identity, job=identity, seq=mark.seq, hash=mark.hash)
    return signer.seal(head, HEAD, identity, now_ms() + _STANDING_MS).model_dump_json()


def opened(text: str, ring: KeyRing, where: str) -> Head:
    """The head in a line; raises `AuditBroken` unless the auditor's key sealed it as such."""
    try:
        envelope: Envelope = parse(json.loads(text), _LIMIT)
        verify(envelope, ring)
        check_address(envelope, HEAD, envelope.id, {Role.AUDITOR})
        return unpack(envelope, Head)
    except (ValueError, RecursionError, EnvelopeRefused) as error:
        raise AuditBroken(f"{where}: not a head that the auditor has signed ({type(error).__name__})") from None


def _drop_half_line(descriptor: int) -> None:
    """Remove what a crash in the middle of an append left at the end; it was no head."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - _TAIL)
    end = os.pread(descriptor, _TAIL, start)
    if end and not end.endswith(b"\n"):
        os.ftruncate(descriptor, start + end.rfind(b"\n") + 1)
