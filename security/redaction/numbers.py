"""Numbers that stand for a person or an account, told from other numbers by form and checksum.

Covered without any word before them: payment cards, IBAN, Bitcoin and Ethereum addresses, and the national numbers
below. A number whose form says nothing (nine or eleven digits, one of them a checksum) is looked for in `cues`.
"""

from __future__ import annotations

from security.redaction.checks import account, card, standard, wallet
from security.redaction.entities import Kind
from security.redaction.pattern import Pattern

_NATIONAL = (
    (r"\d{8}-?[A-HJ-NP-TV-Z]", "es.dni"),
    (r"[XYZ]-?\d{7}-?[A-Z]", "es.nie"),
    (r"[A-Z]{6}[\dL-NP-V]{2}[A-EHLMPR-T][\dL-NP-V]{2}[A-Z][\dL-NP-V]{3}[A-Z]", "it.codicefiscale"),
    (r"[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}", "fr.nir"),
    (r"756\.?\d{4}\.?\d{4}\.?\d{2}", "ch.ssn"),
    (r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", "be.nn"),
    (r"(?:\d{2})?\d{6}[-+]\d{4}", "se.personnummer", "dk.cpr"),
    (r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", "fi.hetu"),
    (r"\d{6}/\d{3,4}", "cz.rc"),
    (r"\d{3} \d{3} \d{4}", "gb.nhs"),
    (r"\d{13}", "za.idnr", "ro.cnp"),
    (r"\d{3}\.\d{3}\.\d{3}-\d{2}", "br.cpf"),
    (r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]", "cl.rut"),
    (r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d", "mx.curp"),
    (r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]", "in_.pan"),
    (r"[2-9]\d{3} \d{4} \d{4}", "in_.aadhaar"),
    (r"\d{17}[\dX]", "cn.ric"),
    (r"\d{6}-\d{7}", "kr.rrn"),
    (r"\d{3}-\d{3}-\d{3}", "ca.sin"),
)
"""Form, and the python-stdnum modules of which one must accept it."""

NUMBERS = (
    Pattern(Kind.CARD, r"(?:^|[^\w.-])(\d{3,19}(?:[ -]\d{2,7}){0,6})\b", card),
    Pattern(Kind.IBAN, r"\b([A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{1,4}){3,8})\b", account),
    Pattern(Kind.SSN, r"(?:^|[^\w-])(\d{3}-\d{2}-\d{4})\b", standard("us.ssn", "us.itin")),
    Pattern(Kind.WALLET, r"\b([13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[02-9ac-hj-np-z]{11,71})\b", wallet),
    Pattern(Kind.WALLET, r"\b(0x[0-9a-fA-F]{40})\b"),
    Pattern(Kind.ID, r"\b([A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D])\b"),  # UK National Insurance
    *(Pattern(Kind.ID, rf"(?:^|[^\w.-])({form})\b", standard(*names)) for form, *names in _NATIONAL),
)
