"""Dates of birth and numbers of documents, which only the words before them tell from others."""

from __future__ import annotations

from security.redaction.checks import digits
from security.redaction.entities import Kind
from security.redaction.pattern import Pattern, any_of

_GAP = r"[\s:=#*\"'()-]{0,4}(?:(?i:is|was|ist|est|es|è|number|no|nr|num|nummer)\b\.?[\s:=#*\"'(]{0,4}){0,2}"
_DAY = (
    r"(\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}(?:st|nd|rd|th|\.)?[ ](?:of[ ]|de[ ])?"
    r"\p{L}{3,10}\.?,?[ ](?:de[ ])?\d{4}|\p{L}{3,10}\.?[ ]\d{1,2}(?:st|nd|rd|th)?,?[ ]\d{4})"
)
_BIRTH = any_of(
    r"born(?: on)?|date of birth|birth ?da(?:te|y)|d\.?o\.?b\.?|geboren(?: am)?|geburts(?:datum|tag)|n[ée]e? le",
    r"date de naissance|nacid[oa] el|fecha de nacimiento|nat[oa] il|data di nascita|nascid[oa] em",
)
_PASSPORT = any_of(r"passport|reisepass(?:nummer)?|passeport|pasaporte|passaporto|passaporte|paspoort")
_IDENTITY = any_of(
    r"(?:national|personal|identity|identification|tax(?:payer)?|social (?:security|insurance)|national insurance)"
    r"[ ](?:id|identity|identification|card|number|code|no\b\.?)",
    r"(?:medicare|driver'?s?|driving|resident|citizen|health insurance)[ ](?:card|number|licen[cs]e|permit|id)",
    r"nino|nhs|bsn|pesel|dni|nie|nif|cpf|tfn|steuer-?id(?:entifikationsnummer)?|personalausweis(?:nummer)?",
    r"sozialversicherungsnummer|num[ée]ro de s[ée]curit[ée] sociale|codice fiscale|personnummer|aadhaar",
)
_CARDS = any_of(
    r"(?:credit|debit|bank|charge|visa|mastercard|amex|my|this|the|your)[ ]card|card[ ](?:number|no\b\.?|#)|cc"
)

DOCUMENTS = (
    Pattern(Kind.BIRTHDATE, rf"\b{_BIRTH}{_GAP}{_DAY}\b", cued=True),
    Pattern(Kind.PASSPORT, rf"\b{_PASSPORT}{_GAP}([A-Za-z0-9]{{6,12}})\b", digits(5, 12), cued=True),
    Pattern(Kind.SSN, rf"\b(?i:ssn|social security){_GAP}(\d{{3}}[- ]?\d{{2}}[- ]?\d{{4}})\b", cued=True),
    Pattern(Kind.CARD, rf"\b{_CARDS}{_GAP}(\d(?:[ -]?\d){{11,18}})\b", cued=True),
    Pattern(
        Kind.ID, rf"\b{_IDENTITY}\b{_GAP}([A-Za-z0-9][A-Za-z0-9./ -]{{3,16}}[A-Za-z0-9])\b", digits(5, 18), cued=True
    ),
)
