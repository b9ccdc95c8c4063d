"""Programs whose output can be told from their words and input: printers, decoders, plain filters."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable

from security.shell.braces import expand
from security.shell.call import Call, sort_options
from security.shell.handlers import handles
from security.shell.limits import MAX_CHARS, MAX_WORDS
from security.shell.marks import HIDDEN, UNKNOWN, blurred, open_ended, unmarked
from security.shell.names import names
from security.shell.quoting import ansi
from security.shell.walker import Walker

_ECHO = re.compile(r"-[neE]+")
_FORMAT = re.compile(r"%(?:%|[-+ 0#]*\d*(?:\.\d+)?([a-zA-Z]))")
_RANGE = re.compile(r"(.)-(.)", re.DOTALL)
_CLASSES = {"[:lower:]": "a-z", "[:upper:]": "A-Z", "[:digit:]": "0-9"}


@handles("echo")
def _echo(walker: Walker, call: Call) -> str:
    words, flags = call.words, ""
    while words and _ECHO.fullmatch(words[0]):
        flags, words = flags + words[0], words[1:]
    text = " ".join(words)
    if "\\" in text and "E" not in flags:
        # bash understands escapes with -e, dash always: both outputs count.
        text = ansi(text) if "e" in flags else "\n".join(dict.fromkeys((text, ansi(text))))
    return text if "n" in flags else text + "\n"


@handles("printf")
def _printf(walker: Walker, call: Call) -> str:
    words = call.words[1:] if call.words[:1] == ["--"] else call.words
    if words[:1] == ["-v"] and words[2:]:
        walker.scope.set(words[1], _formatted(words[2], words[3:]))
        return ""
    return _formatted(words[0], words[1:]) if words else ""


def _formatted(layout: str, values: list[str]) -> str:
    count = sum(found[0] != "%%" for found in _FORMAT.finditer(layout))
    rounds = max(1, -(-len(values) // count)) if count else 1
    waiting = iter(values)
    return "".join(_FORMAT.sub(lambda found: _converted(found, waiting), ansi(layout)) for _ in range(min(rounds, 64)))


def _converted(found: re.Match[str], values: object) -> str:
    if found[0] == "%%":
        return "%"
    value = next(values, "")  # type: ignore[call-overload]
    match found[1]:
        case "s":
            return str(value)
        case "b":
            return ansi(value)
        case "c":
            return str(value)[:1]
        case "d" | "i" | "u" if found[0] in {"%d", "%i", "%u"} and value.lstrip("-").isdigit():
            return str(value)
        case _:
            return UNKNOWN


@handles("cat", "tee", "tac")
def _cat(walker: Walker, call: Call) -> str:
    files = sort_options(call.words).operands
    if call.name == "tee":
        for path in files:
            walker.note(">>" if {"-a", "--append"} & set(call.words) else ">", path)
            walker.write(path, call.stdin or UNKNOWN)
        return call.stdin or UNKNOWN
    return "".join((call.stdin or UNKNOWN) if path == "-" else walker.read(path) for path in files or ["-"])


@handles(*names("true false : test [ sleep wait mkdir touch exit return logout disown bg fg ulimit umask shopt popd"))
def _silent(walker: Walker, call: Call) -> str:
    return ""


@handles("yes")
def _yes(walker: Walker, call: Call) -> str:
    return " ".join(call.words or ["y"]) + "\n"


@handles("rev")
def _rev(walker: Walker, call: Call) -> str:
    text = call.stdin or UNKNOWN
    if open_ended(text):
        return blurred(text)
    return _decoded(walker, text, lambda: "\n".join(line[::-1] for line in text.split("\n")))


@handles("base64", "base32", "basenc", "openssl", "xxd")
def _decode(walker: Walker, call: Call) -> str:
    options = sort_options(
        call.words, frozenset({"-w", "--wrap", "-in", "-out", "-k", "-pass", "-K", "-iv", "-c", "-l"})
    )
    text = call.stdin or UNKNOWN
    files = [word for word in options.operands if word not in {"enc", "base64", "-"}]
    if path := options.values.get("-in") or (files[0] if files else ""):
        text = walker.read(path)
    if not options.any("-d", "-D", "--decode", "-r"):
        return blurred(text)
    return _decoded(walker, text, lambda: _unpacked(call, text))


def _decoded(walker: Walker, text: str, decode: Callable[[], str]) -> str:
    """The output of a decoder, which is remembered: code that comes out of one was hidden."""
    if open_ended(text):
        return HIDDEN if blurred(text) == UNKNOWN else blurred(text)
    found = unmarked(decode())[:MAX_CHARS]
    walker.decoded.add(found.strip())
    return found


def _unpacked(call: Call, text: str) -> str:
    words = set(call.words)
    packed = "".join(text.split())
    try:
        if call.name == "base32" or "--base32" in words:
            return _text(base64.b32decode(packed))
        if call.name == "xxd":
            return _text(bytes.fromhex(packed)) if _plain(words) else HIDDEN
        if call.name == "openssl" and not words & {"base64", "-base64", "-a", "-A"}:
            return HIDDEN
        return _text(
            base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_" if "--base64url" in words else None)
        )
    except (binascii.Error, ValueError):
        return HIDDEN


def _plain(words: set[str]) -> bool:
    return any(word.startswith("-") and "p" in word for word in words)


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return HIDDEN


@handles("tr")
def _tr(walker: Walker, call: Call) -> str:
    options, text = sort_options(call.words), call.stdin or UNKNOWN
    sets = [_set(operand) for operand in options.operands]
    if open_ended(text) or not sets or any(map(open_ended, sets)) or options.flags - {"-d"}:
        return blurred(text)
    if "-d" in options.flags:
        return _decoded(walker, text, lambda: "".join(char for char in text if char not in sets[0]))
    if not any(sets[1:]):
        return UNKNOWN
    table = {ord(old): new for old, new in zip(sets[0], sets[1].ljust(len(sets[0]), sets[1][-1]), strict=False)}
    return _decoded(walker, text, lambda: text.translate(table))


def _set(operand: str) -> str:
    for name, meant in _CLASSES.items():
        operand = operand.replace(name, meant)
    return _RANGE.sub(_run, ansi(operand))


def _run(found: re.Match[str]) -> str:
    first, last = ord(found[1]), ord(found[2])
    return "".join(map(chr, range(first, last + 1))) if last - first < MAX_WORDS else UNKNOWN


@handles("seq")
def _seq(walker: Walker, call: Call) -> str:
    match [word for word in call.words if word.lstrip("-").isdigit()]:
        case [last] if call.words == [last]:
            return "\n".join(expand(f"{{1..{last}}}")) + "\n"
        case [first, last] if call.words == [first, last]:
            return "\n".join(expand(f"{{{first}..{last}}}")) + "\n"
        case _:
            return UNKNOWN
