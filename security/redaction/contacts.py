"""Where somebody can be reached: e-mail, telephone, network addresses.

Telephone numbers without a plus sign or a word that announces them are found where they are written in groups as
in North America, or begin with a zero as in most other countries. Others, such as `20 123 456`, are not.
"""

from __future__ import annotations

from security.redaction.checks import address, digits
from security.redaction.entities import Kind
from security.redaction.pattern import Pattern

_EXTENSION = r"(?:[ ]?(?i:x|ext\.?|extension)[ ]?\d{1,6})?"
_CALLED = (
    r"(?i:\b(?:(?:tele)?phone|tel|mobile|cell(?:ular)?|fax|desk|whatsapp|signal|sms|hotline|landline|telefon|t[ée]l[ée]"
    r"phone|tel[ée]fono|m[óo]vil|portable|handy|rufnummer|mobil|my number|dial|ring|messages? to|"
    r"(?:call|phone|reach|text|ring|contact)(?:[ ]\w{2,12}){0,2}[ ](?:at|on|under|unter|au))\b)"
)
_GAP = r"(?i:[ ]?(?:number|numbers|no\.?|nr\.?|num(?:m?er)?|#))?[\s\"'*)]{0,3}(?i:is|ist|est|es|[:=])?[\s\"'*]{0,3}"
_PLACE = r"(?i:office|fax|mobile|cell|home|work|desk|private)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_HEXTET = r"[0-9a-fA-F]{0,4}"

CONTACTS = (
    Pattern(
        Kind.EMAIL,
        r"[\p{L}\p{N}][\p{L}\p{N}._%+'-]*@(?:[\p{L}\p{N}-]+\.)+\p{L}[\p{L}\p{N}-]+",
    ),
    Pattern(Kind.PHONE, r"((?:\+|\b00)[1-9](?:[ ().\-/]{0,3}\d){6,14}" + _EXTENSION + r")\b", digits(7, 20)),
    Pattern(
        Kind.PHONE,
        r"(?:^|[^\p{L}\d.-])((?:1[-. ])?(?:\(\d{3}\)[ ]?|\d{3}[-. ])\d{3}[-. ]\d{4}" + _EXTENSION + r")\b",
    ),
    Pattern(Kind.PHONE, r"(?:^|[^\p{L}\d.-])(0\d{1,4}(?:[ ./-]\d{2,8}){1,5})\b", digits(8, 12)),
    Pattern(Kind.PHONE, r"(?:^|[^\p{L}\d.,-])(0[1-9]\d{8,9})\b"),
    Pattern(Kind.PHONE, r"(\(0?\d{2,5}\)[ ]?\d{2,4}(?:[ -]?\d{2,4}){1,3}" + _EXTENSION + r")\b", digits(7, 13)),
    Pattern(
        Kind.PHONE, _CALLED + _GAP + r"([+(]?\d[\d ().\-/]{3,18}\d" + _EXTENSION + r")\b", digits(5, 20), cued=True
    ),
    Pattern(Kind.PHONE, r"\b([+(]?\d[\d ().\-/]{5,18}\d)[ ]?[(-][ ]?" + _PLACE + r"\b", digits(5, 20)),
    Pattern(Kind.IP, rf"(?:^|[^\w.-])({_OCTET}(?:\.{_OCTET}){{3}})\b", address),
    Pattern(Kind.IP, rf"(?:^|[^\w:.])({_HEXTET}(?::{_HEXTET}){{2,7}}(?:%\w+)?)", address),
    Pattern(Kind.MAC, r"\b([0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5})\b"),
)
