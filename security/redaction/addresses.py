"""Street addresses and post codes, where their form or the words before them give them away.

Covered: a house number with an English street word, European street names with theirs, boxes, and what follows
`my address is` or `ship to` up to the end of its line. Not covered: streets without a street word.
"""

from __future__ import annotations

from security.redaction.entities import Kind
from security.redaction.names import LABEL
from security.redaction.pattern import Pattern, any_of

_CAPITAL = r"[\p{Lu}\d][\p{L}\p{M}\d.'-]*"
_STREET = (
    r"(?:(?i:street|avenue|ave|road|rd|lane|boulevard|blvd|parkway|pkwy|highway|hwy)|St|Ln|Drive|Dr|Court|Ct|Square|Sq|"
    r"Way|Terrace|Crescent|Cres|Circle|Cir|Trail|Trl|Alley|Mews|Grove|Plaza|Place|Pl|Row|Walk|Hill|Close|Gardens|Quay)\b\.?"
)
_TAIL = (
    r"(?:,?[ \n](?i:apt|apartment|suite|ste|unit|floor|fl|flat|no|room|rm)\b\.?[ ]?#?[\p{L}\d-]{1,6})?"
    r"(?:,?[ \n]\p{Lu}[\p{L}\p{M}'-]+(?:[ -]\p{Lu}[\p{L}\p{M}'-]+){0,2},?)?(?:[ ,]{1,2}[A-Z]{2})?"
    r"(?:[ ,]{1,2}\d{5}(?:-\d{4})?\b)?"
)
_ENDING = (
    r"(?:stra(?:ß|ss)e|str\.|weg|gasse|platz|allee|damm|ufer|vej|gade|gatan|vägen|laan|straat|gracht|katu|tie|utca|"
    r"veien|gata)"
)
_WORD = r"(?:Stra(?:ß|ss)e|Weg|Platz|Allee|Vej|Gade|Straat|Laan|utca)"
_FRENCH = any_of("rue|avenue|boulevard|chemin|impasse|quai|place|allée|cours")
_ROMANCE = (
    r"(?:[Rr]ue|[Cc]hemin|[Ii]mpasse|[Qq]uai|Via|Viale|Piazza|Corso|Vicolo|Calle|Avenida|Avda\.?|Paseo|Plaza|Carrer|"
    r"Rua|Praça|Travessa|[Uu]lica|[Uu]l\.|Aleja)"
)
_ANNOUNCED = any_of(
    r"(?:my|our|his|her|their|home|billing|shipping|postal|mailing|street|delivery) address(?: is| was|:)",
    r"(?:i|we|he|she|they) lives? (?:at|on)|(?:ship|deliver|send|sent)(?:p?ed)? (?:it |this |them )?to",
)
_LABELS = any_of(r"(?:home |billing |shipping |street |mailing )?address|anschrift|adresse|dirección|indirizzo")
_CODE = any_of(r"zip(?: ?code)?|post(?:al)? ?code|plz|cap|code postal|c[óo]digo postal|postnummer|postleitzahl")

_NUMBER = r"\d{1,4}[ ]?[a-zA-Z]?"

ADDRESSES = (
    Pattern(Kind.ADDRESS, rf"(?:^|[^\w.,$])(\d{{1,5}}[A-Za-z]?[ ](?:{_CAPITAL}[ ]){{1,4}}{_STREET}{_TAIL})"),
    Pattern(Kind.ADDRESS, rf"({_CAPITAL}(?:[ -]{_CAPITAL}){{0,2}}{_ENDING}[ ]{_NUMBER})\b"),
    Pattern(Kind.ADDRESS, rf"({_CAPITAL}[ ]{_WORD}[ ]{_NUMBER})\b"),
    Pattern(Kind.ADDRESS, rf"\b(\d{{1,5}},?[ ](?:bis[ ])?{_FRENCH}[ ](?:[\p{{L}}']+[ ]){{0,4}}{_CAPITAL})"),
    Pattern(Kind.ADDRESS, rf"\b({_ROMANCE}[ ](?:[\p{{L}}']+[ ]){{0,4}}{_CAPITAL},?[ ]\d{{1,5}})\b"),
    Pattern(Kind.ADDRESS, r"\b((?i:p\.?[ ]?o\.?[ ]?box|postfach|bo[îi]te postale|apartado)[ ]\d{1,7})\b"),
    Pattern(Kind.ADDRESS, rf"\b{_ANNOUNCED}[\s\"':]{{1,3}}(\d[^\n?!;\"]{{4,90}}[\p{{L}}\d])", cued=True),
    Pattern(Kind.ADDRESS, rf"{LABEL}{_LABELS}[ \t]*:[ \t]*([^\n]{{4,120}})", cued=True),
    Pattern(Kind.ADDRESS, rf"\b{_CODE}(?i:[ ]?(?:is|:|=))?[ ]{{0,2}}(\d{{3,6}}(?:[ -]\d{{2,4}})?)\b", cued=True),
    Pattern(Kind.ADDRESS, r"\b([A-Z]{1,2}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{2}|[A-Z]\d[A-Z] \d[A-Z]\d)\b"),  # UK, Canada
)
