"""Which part of a candidate is really a number of its kind; every check gives a stretch of the candidate or None.

The checksums are python-stdnum's. A candidate comes from a pattern that bounds it to some 70 characters, so that
nothing here can be slow.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import cache
from importlib import import_module

from stdnum import bitcoin, iban, luhn

Stretch = tuple[int, int]
Check = Callable[[str], Stretch | None]

_ISSUERS = "23456"
"""What the numbers of payment cards begin with (ISO/IEC 7812-1: travel, banking)."""
_CARD_DIGITS = (19, 18, 17, 16, 15, 14, 13)
_DATES = ([2, 2, 4], [2, 2, 2], [1, 2, 4], [2, 1, 4], [1, 1, 4], [4, 2, 2])
_MODULE = "stdnum.{}"


def card(text: str) -> Stretch | None:
    """The longest stretch of a digit run, cut at its separators, that is a payment card's number (Luhn)."""
    return next((found for start in _words(text) if (found := _card_at(text, start))), None)


def _card_at(text: str, start: int) -> Stretch | None:
    places = [place for place in range(start, len(text)) if text[place].isdigit()]
    for length in _CARD_DIGITS:
        if length > len(places) or text[start] not in _ISSUERS:
            continue
        end = places[length - 1] + 1
        if not text[end : end + 1].isdigit() and luhn.is_valid(_digits(text[start:end])):
            return start, end
    return None


def account(text: str) -> Stretch | None:
    """The longest beginning of the text that is an IBAN, its country's length and structure included (ISO 13616)."""
    ends = (end for end in range(len(text), 14, -1) if not text[end : end + 1].isalnum())
    return next(((0, end) for end in ends if text[end - 1].isalnum() and iban.is_valid(text[:end])), None)


def wallet(text: str) -> Stretch | None:
    """The text, if it is a Bitcoin address whose checksum fits (Base58Check, BIP 173, BIP 350)."""
    return (0, len(text)) if bitcoin.is_valid(text) else None


def address(text: str) -> Stretch | None:
    """The text, if it is an IP address that tells of a machine: not this host's, not the empty one."""
    if not _digits(text):
        return None  # `face::add` is an address by its form, and a name in a program
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if found.is_loopback or found.is_unspecified or found.is_multicast else (0, len(text))


def digits(least: int, most: int) -> Check:
    """A check of how many digits there are; a date in digits does not pass."""

    def check(text: str) -> Stretch | None:
        return (0, len(text)) if least <= len(_digits(text)) <= most and not _date(text) else None

    return check


@cache
def standard(*names: str) -> Check:
    """A check by one of python-stdnum's modules, as in `es.dni`."""
    modules = [import_module(_MODULE.format(name)) for name in names]

    def check(text: str) -> Stretch | None:
        return (0, len(text)) if any(module.is_valid(text) for module in modules) else None

    return check


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())


def _words(text: str) -> list[int]:
    """Where the groups of digits begin."""
    return [place for place in range(len(text)) if text[place].isdigit() and not text[place - 1 : place].isdigit()]


def _date(text: str) -> bool:
    groups = text.replace("/", ".").replace("-", ".").split(".")
    return all(map(str.isdigit, groups)) and [len(group) for group in groups] in _DATES
