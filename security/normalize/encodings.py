"""Encoded stretches of a text, decoded in their place.

Covered: HTML entities, URL percent codes, `\\u` and `\\x` escapes, hexadecimal and base64, the last two where what they
hold reads as text. Every decoding shortens the text, so the work is linear in it and needs no cap of its own; how often
a decoding is decoded again is the caller's affair.
"""

from __future__ import annotations

import binascii
import html
from collections.abc import Callable, Collection
from unicodedata import category
from urllib.parse import unquote_to_bytes

from security.normalize.finder import finder, replaced

_URL = r"%[0-9A-Fa-f]{2}"
_HTML = r"&#?[0-9A-Za-z]{2,8};"
_ESCAPE = r"\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2})"

# Text in hexadecimal has six printable characters of ASCII in a row.
_BYTE, _PRINTABLE = "[0-9A-Fa-f]{2}", "[2-7][0-9A-Fa-f]"
_HEX = f"(?:{_PRINTABLE}){{6}}|(?:{_PRINTABLE}[ :,]){{5}}{_PRINTABLE}|(?:0x{_PRINTABLE}[ ,]{{0,2}}){{6}}"

# Text in base64 mixes small letters, capitals and digits as words and names do not, or ends in `=`. Of stretches of 16
# letters this finds 99 %, of longer ones all.
_LETTER = "[0-9A-Za-z+/_-]"
_NEAR = f"{_LETTER}{{0,6}}"
_MIXED = f"[0-9a-z][A-Z]{_NEAR}[0-9]{_LETTER}|[0-9]{_NEAR}[0-9a-z][A-Z]{_LETTER}|[0-9a-z][A-Z]{{2,3}}[0-9a-z]"
_PADDED = f"(?:[a-z]{_NEAR}[0-9A-Z]|[0-9A-Z]{_NEAR}[a-z]){_NEAR}={{1,2}}"
_LONG = f"(?:{_MIXED}){_LETTER}{{5}}|{_LETTER}{{3}}(?:{_MIXED}){_LETTER}{{3}}|{_LETTER}{{5}}(?:{_MIXED})"
_BASE64 = f"{_LONG}|{_PADDED}(?:[^0-9A-Za-z\"'=]|\\z)"

HINTS = {"HTML": _HTML, "URL": _URL, "escape": _ESCAPE, "hex": _HEX, "base64": _BASE64}
"""What any stretch in an encoding matches, and little else; in the order in which they are undone."""

_TEXT = bytes((*b"\t\n\r", *range(0x20, 0x7F)))
_STANDARD = bytes.maketrans(b"-_", b"+/")
_NO_TEXT = frozenset({"Cc", "Cn", "Co"})
_LEAST_READABLE = 0.85
_LEAST_BYTES = 5
_LEAST_LETTERS = 8
_OFTEN_SHIFTED = 24

_HTML_RUN = finder(f"{_HTML}?")
_URL_RUN = finder(f"(?:{_URL})+")
_ESCAPE_RUN = finder(f"(?:{_ESCAPE})+")
_HEX_RUN = finder(f"(?:0x{_BYTE}[ ,]{{0,2}}){{6,}}|(?:{_BYTE}[ :,]?){{5,}}{_BYTE}")
_BASE64_RUN = finder(rf"(?:{_LETTER}{{40,}}\r?\n)*{_LETTER}*(?:(?:{_MIXED}){_LETTER}*={{0,2}}|{_PADDED})")
_NOT_HEX = finder(r"0x|[^0-9A-Fa-f]")


def decoded(text: str, hints: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """The text with its encoded stretches in clear, and which of the encodings hinted at it had."""
    names = []
    for name in (name for name in HINTS if name in hints):
        before, text = text, _DECODERS[name](text)
        names += [name] if text != before else []
    return text, tuple(names)


def _unescaped(run: bytes) -> bytes:
    halves = run.decode("unicode_escape").encode("utf-16", "surrogatepass")
    return halves.decode("utf-16", "replace").encode()


def _unhexed(run: bytes) -> bytes:
    digits = _NOT_HEX.sub(b"", run)
    for start in (0, 1):
        whole = digits[start : start + (len(digits) - start) // 2 * 2]
        if text := readable(binascii.unhexlify(whole)):
            return text.encode()
    return run


def _unbased(run: bytes) -> bytes:
    """The run decoded from whichever of its first four places it reads as text from, or the run itself."""
    letters = run.translate(_STANDARD, b"\r\n=")
    if len(letters) < _LEAST_LETTERS:
        return run
    for start in range(4 if len(letters) >= _OFTEN_SHIFTED else 1):
        part = letters[start : len(letters) - ((len(letters) - start) % 4 == 1)]
        if text := readable(binascii.a2b_base64(part + b"=" * (-len(part) % 4))):
            return letters[:start] + text.encode()
    return run


_DECODERS: dict[str, Callable[[str], str]] = {
    "HTML": lambda text: replaced(_HTML_RUN, text, lambda run: html.unescape(run.decode()).encode()),
    "URL": lambda text: replaced(_URL_RUN, text, unquote_to_bytes),
    "escape": lambda text: replaced(_ESCAPE_RUN, text, _unescaped),
    "hex": lambda text: replaced(_HEX_RUN, text, _unhexed),
    "base64": lambda text: replaced(_BASE64_RUN, text, _unbased),
}


def readable(raw: bytes) -> str:
    """The text that these bytes are in ASCII, UTF-8 or UTF-16, or nothing when they do not read as one."""
    if len(raw) < _LEAST_BYTES:
        return ""
    if not any(raw[1::2]):
        return raw.decode("utf-16-le", errors="replace")
    odd = len(raw.translate(None, _TEXT))
    if odd > (1 - _LEAST_READABLE) * len(raw) and not _is_utf8(raw):
        return ""
    return raw.decode(errors="replace").replace("\ufffd", "?")


def _is_utf8(raw: bytes) -> bool:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return False
    return sum(category(char) not in _NO_TEXT for char in text) >= _LEAST_READABLE * len(text)
