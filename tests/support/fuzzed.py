"""What must hold for any bytes at all: the targets that `make fuzz` attacks and the corpus test replays."""

from __future__ import annotations

import json
from collections.abc import Callable

from security.packs import RulePack
from security.shell.analysis import analyse
from security.shell.guardrail import ShellGuardrail
from switchtower.envelope import KeyRing, Role, Signer, admit, parse, unpack
from switchtower.errors import EnvelopeRefused
from switchtower.messages import UserRequest, new_identity, now_ms
from switchtower.models import Action, Surface
from switchtower.queues import SCREEN

_CLIENT = Signer.create(Role.CLIENT)
_RING = KeyRing.of(_CLIENT)
_LIMIT = 65_536
_GUARDRAIL = ShellGuardrail(RulePack.load(), _LIMIT)


def envelope(data: bytes) -> None:
    """Bytes are either refused by a named error, or are an envelope that a key of the ring sealed."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        opened = parse(raw, _LIMIT)
        admit(opened, _RING, SCREEN, opened.id, {Role.CLIENT})
        unpack(opened, UserRequest)
    except EnvelopeRefused:
        return
    raise AssertionError("an envelope that nobody sealed was admitted")


def patched_envelope(data: bytes) -> None:
    """A good envelope in which any bytes were put in place of others is refused, or is the same."""
    request = UserRequest(prompt="hello")
    good = _CLIENT.seal(request, SCREEN, new_identity(), now_ms() + 60_000).model_dump()
    fields = sorted(good)
    field, said = fields[data[0] % len(fields)] if data else "sig", data[1:].decode(errors="surrogateescape")
    patched = good | {field: said}
    try:
        opened = parse(patched, _LIMIT)
        admit(opened, _RING, SCREEN, good["id"], {Role.CLIENT})
        unpack(opened, UserRequest)
    except EnvelopeRefused:
        return
    assert patched == good, f"{field} was changed and the envelope admitted"


def normalize(data: bytes) -> None:
    """Any text gets a verdict on every surface, and never because the guardrail crashed."""
    text = data.decode(errors="surrogatepass" if len(data) % 2 else "replace") if _decodes(data) else str(data)
    for surface in Surface:
        verdict = _GUARDRAIL.judge(text, surface)
        assert "guardrail_error" not in {finding.rule for finding in verdict.findings}, surface


def _decodes(data: bytes) -> bool:
    try:
        data.decode(errors="surrogatepass" if len(data) % 2 else "replace")
    except UnicodeDecodeError:
        return False
    return True


def shell(data: bytes) -> None:
    """Any command is answered; what deletes the root, behind anything that parses, is never allowed."""
    command = data.decode(errors="replace")
    analyse(command)
    assert analyse(f"rm -rf /\n{command}").action is not Action.ALLOW


TARGETS: dict[str, Callable[[bytes], None]] = {
    "envelope": envelope,
    "patched_envelope": patched_envelope,
    "normalize": normalize,
    "shell": shell,
}
