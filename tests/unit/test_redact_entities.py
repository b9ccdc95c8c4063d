"""What is found in a text and what is not; all values are invented, or are the published test numbers of their kind."""

from __future__ import annotations

import pytest

from security.redaction.entities import Entity, Kind, resolved
from security.redaction.redactor import Redactor

REDACTOR = Redactor()

FOUND = {
    Kind.EMAIL: [
        ("Write to ada.k+news@mail.example.org, please.", "ada.k+news@mail.example.org"),
        ("mailto:o'neill@example.co.uk", "o'neill@example.co.uk"),
        ("Почта: анна@пример.рф", "анна@пример.рф"),
        ("<ada@example.org>", "ada@example.org"),
    ],
    Kind.PHONE: [
        ("Call +44 20 7946 0958 today", "+44 20 7946 0958"),
        ("+41 (0)44 668 18 00", "+41 (0)44 668 18 00"),
        ("0049 30 901820", "0049 30 901820"),
        ("(202) 555-0147 or later", "(202) 555-0147"),
        ("202-555-0147x22", "202-555-0147x22"),
        ("0496 12 34 56", "0496 12 34 56"),
        ("Desk: 7946 0958", "7946 0958"),
        ("my number is 555 0147.", "555 0147"),
        ("5550147 (mobile)", "5550147"),
    ],
    Kind.CARD: [
        ("4111 1111 1111 1111 12/27", "4111 1111 1111 1111"),
        ("pay with 378282246310005.", "378282246310005"),
        ("card number 1234-5678-9012-3456", "1234-5678-9012-3456"),
    ],
    Kind.IBAN: [
        ("GB82 WEST 1234 5698 7654 32 and more", "GB82 WEST 1234 5698 7654 32"),
        ("to DE89370400440532013000.", "DE89370400440532013000"),
    ],
    Kind.SSN: [("536-90-4399", "536-90-4399"), ("my social security number is 123 45 6789", "123 45 6789")],
    Kind.ID: [
        ("RSSMRA85T10A562S", "RSSMRA85T10A562S"),
        ("DNI 12345678Z", "12345678Z"),
        ("756.9217.0769.85", "756.9217.0769.85"),
        ("390.533.447-05", "390.533.447-05"),
        ("QQ 12 34 56 C is not one, AB 12 34 56 C is", "AB 12 34 56 C"),
        ("driver's license number: D1234567", "D1234567"),
        ("tax id 12 345 678 901", "12 345 678 901"),
    ],
    Kind.PASSPORT: [("Passport No. C01X00T47", "C01X00T47"), ("Reisepass: L01X00T471", "L01X00T471")],
    Kind.BIRTHDATE: [
        ("born on 12 March 1985 in", "12 March 1985"),
        ("DOB: 1985-03-12", "1985-03-12"),
        ("geboren am 12.03.1985", "12.03.1985"),
        ("Date of birth: March 12th, 1985", "March 12th, 1985"),
    ],
    Kind.IP: [
        ("ping 192.0.2.17 now", "192.0.2.17"),
        ("2001:db8::8a2e:370:7334", "2001:db8::8a2e:370:7334"),
    ],
    Kind.MAC: [("00:00:5e:00:53:af", "00:00:5e:00:53:af")],
    Kind.WALLET: [
        ("1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"),
        ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"),
        ("0x" + "52908400098527886E0F7030069857D2E4169EE7", "0x52908400098527886E0F7030069857D2E4169EE7"),
    ],
    Kind.SECRET: [
        ('password = "hunter2-hunter2"', "hunter2-hunter2"),
        ("ghp\u005fq8Zr3TnVb6Ym1Kc9Wd4Xf7Gh2Jp5Ls0RtAvE", "ghp\u005fq8Zr3TnVb6Ym1Kc9Wd4Xf7Gh2Jp5Ls0RtAvE"),
        ("https://bot:q8Zr3TnV@repo/x", "bot:q8Zr3TnV"),
        ("Authorization: Bearer q8Zr3TnVb6Ym1Kc9Wd4Xf7Gh", "q8Zr3TnVb6Ym1Kc9Wd4Xf7Gh"),
        ("my pin is 4711", "4711"),
        (
            "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\nAAAA\n-----END PRIVATE KEY-----\nend",
            "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\nAAAA\n-----END PRIVATE KEY-----",
        ),
    ],
    Kind.PERSON: [
        ("my name is Zoë van der Berg, and", "Zoë van der Berg"),
        ("Dr. Ada Kovacs said", "Ada Kovacs"),
        ("Dear Ada,\nhow are you?", "Ada"),
        ("Kind regards,\nAda Kovacs\n", "Ada Kovacs"),
        ("Name: Ada Kovacs\nAge: 36", "Ada Kovacs"),
        ("Ich heiße Jürgen Groß.", "Jürgen Groß"),
        ("I'm Ada Kovacs from", "Ada Kovacs"),
        ("my colleague Ada", "Ada"),
        ("Ada Kovacs <unknown@example>", "Ada Kovacs"),
    ],
    Kind.ADDRESS: [
        ("at 221B Baker Street, London", "221B Baker Street, London"),
        ("Hauptstraße 12a in", "Hauptstraße 12a"),
        ("12 rue de la Paix", "12 rue de la Paix"),
        ("Via Garibaldi 7", "Via Garibaldi 7"),
        ("P.O. Box 1234", "P.O. Box 1234"),
        ("zip code 10117", "10117"),
        ("SW1A 1AA", "SW1A 1AA"),
    ],
    Kind.ORGANISATION: [("at Kovacs & Sons Ltd in", "Kovacs & Sons Ltd"), ("I work at Initech", "Initech")],
    Kind.PLACE: [("I live in New Haven and", "New Haven")],
}

QUIET = [
    "The meeting is on 2024-05-17 at 10:30, in room 12.",
    "Version 3.11.4 was released on 01.02.2024, after 3.10.",
    "It costs 1,234,567.89 dollars, or 0.5378282246310005 of it.",
    "The sum of 4111 and 1112 is 5223; the numbers are 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16.",
    "4111 1111 1111 1112 fails the checksum.",
    "DE89370400440532013001 does as well, and 12345678A.",
    "Listen on 127.0.0.1 or 0.0.0.0, or ::1.",
    "std::vector<int> face::add(int a, int b);",
    "What is a good password? A password must have 12 characters.",
    "password = os.environ['DB_PASSWORD']",
    "Dear Sir or Madam, dear customers, hi all!",
    "I am happy. This is New York. My name is common.",
    "Born to run; passport required; call me maybe.",
    "She took the St. Gotthard road at 5 in the morning.",
    "git commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
    "SELECT * FROM users WHERE id = 42 AND at > '2020-01-01'",
    "@decorator\ndef f(x): return x@y",
]


def found(text: str) -> dict[str, Kind]:
    return {text[one.start : one.end]: one.kind for one in REDACTOR.entities((text,), "tag22")[0]}


@pytest.mark.parametrize(("kind", "text", "value"), [(kind, *case) for kind, cases in FOUND.items() for case in cases])
def test_a_private_value_is_found_as_a_whole(kind, text, value):
    assert found(text).get(value) is kind, found(text)


@pytest.mark.parametrize("text", QUIET)
def test_what_is_not_private_is_left_alone(text):
    assert found(text) == {}


@pytest.mark.parametrize(
    ("plain", "disguised"),
    [
        (
            "4111 1111 1111 1111",
            "".join(chr(ord(one) + 0xFEE0) if one.isdigit() else one for one in "4111 1111 1111 1111"),
        ),
        ("+44 20 7946 0958", "+44\u00a020\u20117946\u202f0958"),
        ("ada@example.org", "ada\u200b@exam\u00adple.org"),
        ("my name is Ada O'Neill", "my name is Ada O’Neill"),  # noqa: RUF001 - as phones write it
    ],
)
def test_another_spelling_of_characters_does_not_hide_a_value(plain, disguised):
    assert list(found(disguised).values()) == list(found(plain).values())
    assert next(iter(found(disguised))) in disguised


def test_a_name_that_was_given_away_once_is_found_wherever_it_stands():
    text = "Ada Kovacs called. She, Ada, says: my name is Ada Kovacs. KOVACS? Adam knows."
    assert found(text) == {"Ada Kovacs": Kind.PERSON, "Ada": Kind.PERSON}


def test_a_name_holds_for_all_texts_of_a_job():
    first, second = REDACTOR.entities(("Ask Kovacs about it.", "Mr Kovacs is in."), "tag22")
    assert [(one.kind, one.end - one.start) for one in first] == [(Kind.PERSON, len("Kovacs"))]
    assert len(second) == 1


def test_what_overlaps_becomes_one_that_covers_all_and_is_the_most_specific():
    parts = [Entity(0, 6, Kind.PHONE), Entity(4, 9, Kind.CARD), Entity(8, 12, Kind.PERSON), Entity(12, 14, Kind.IP)]
    assert resolved(reversed(parts)) == [Entity(0, 12, Kind.CARD), Entity(12, 14, Kind.IP)]


def test_a_secret_in_an_address_hides_with_the_mail_address_that_it_looks_like():
    assert found("postgresql://app:q8Zr3TnV@db.example.org/x") == {"app:q8Zr3TnV@db.example.org": Kind.SECRET}
