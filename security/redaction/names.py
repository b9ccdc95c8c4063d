"""People, companies and places, where the words beside them say what they are.

Covered are titles, labels, greetings, signatures, introductions such as `my name is`, and companies with their
legal form; English, and the commonest phrases of German, French, Spanish, Italian, Portuguese and Dutch. Not covered:
names that merely occur in a sentence. They take a model for named entities, or lists, and neither is here.
"""

from __future__ import annotations

from security.redaction.checks import Stretch
from security.redaction.entities import Kind
from security.redaction.pattern import Pattern, any_of

_WORD = r"\p{Lu}[\p{L}\p{M}'-]*"
_PARTICLE = "(?:(?:van|von|der|den|de|del|della|di|da|do|dos|du|la|le|el|al|bin|ibn|ben|zu|ter|ten|af)[ ]){0,3}"
_ONE = rf"(?:{_WORD}|\p{{Lu}}\.)"
NAME = rf"({_ONE}(?:[ ]{_PARTICLE}{_ONE}){{0,3}})"
_FULL = rf"({_WORD}(?:[ ]{_PARTICLE}{_ONE}){{1,3}})"
LABEL = r"(?m:^)[ \t>*#|-]{0,8}"

_TITLES = (
    r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Dame|Lady|Lord|Rev|Herrn?|Frau|M\.|Mme|Mlle|Monsieur|Madame|"
    r"Sra?|Srta|Señora?|Sig|Signora?|Dott)\.?[ ]"
)
_INTRODUCTIONS = any_of(
    r"my (?:full |first |last |middle |real )?name(?:'s| is)|calls? me|called me|i am called|i'm called",
    r"ich hei(?:ß|ss)e|mein name ist|je m'appelle|mon nom est|me llamo|mi nombre es|mi chiamo|il mio nome è",
    r"meu nome é|eu me chamo|mijn naam is|ik heet|jag heter|jeg heter|nazywam się",
)
_LABELS = any_of(
    r"(?:full |first |last |middle |user |customer |patient |contact |legal |sur|fore)?name|patient|customer|contact",
    r"attn\.?|attention|cc|from|to|user|holder|card ?holder|passenger|employee|applicant|nom|nombre|nome|vorname",
)
_GREETINGS = any_of(
    r"hi|hello|hey|dear|hallo|lieber?|sehr geehrter?|bonjour|cher|chère|hola|estimad[oa]|ciao|car[oa]",
    r"good (?:morning|afternoon|evening)",
)
_CLOSINGS = any_of(
    r"regards|sincerely|cheers|best|wishes|truly|faithfully|love|thanks|thank you|gr(?:ü|ue)(?:ß|ss)en?",
    r"cordialement|saludos|saluti",
)
_KIN = any_of(
    r"my (?:wife|husband|partner|son|daughter|child|baby|mother|mom|mum|father|dad|brother|sister|friend|boss|doctor)",
    r"my (?:colleague|neighbou?r|girlfriend|boyfriend|client|patient|landlord|uncle|aunt|cousin|manager)",
)
_LEGAL = (
    r"(?:Inc|LLC|L\.L\.C|Ltd|Limited|GmbH|AG|KG|SE|S\.A\.?|SA|SARL|S\.p\.A|SpA|S\.r\.l|B\.V|BV|N\.V|PLC|Plc|Corp|"
    r"Corporation|LLP|Oy|AB|A/S|ApS|s\.r\.o)"
)
_WORDS = (
    "A All An And Any At Both But For He I If In It No Not Of On Or Please She So Thanks That The There They This To "
    "We Yes You Apt Avenue Client Colleague Colleagues Committee Customer Customers Dad Everybody Everyone Folks "
    "Friend Friends Guys Hiring Madam Manager Member Members Mom Mum Recipient Road Sir Sirs St Street Students Suite "
    "Support Team Users World Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March July "
    "September October November December"
)
_NOBODY = frozenset(_WORDS.split())
"""Words in capitals that stand where a name could, and are none."""


def person(text: str) -> Stretch | None:
    """The candidate up to the first word that names nobody; None where that is the first of all."""
    end = 0
    for word in text.split(" "):
        if word.rstrip(".") in _NOBODY:
            break
        end += len(word) + 1
    name = text[: max(0, end - 1)].removesuffix("'s")
    return (0, len(name)) if name else None


_CONTEXTS = (
    _TITLES + NAME,
    rf"\b{_INTRODUCTIONS}[ :\"'*]{{1,4}}{NAME}",
    rf"{LABEL}{_LABELS}[ \t]*:[ \t\"'*]*{NAME}",
    rf"(?:(?m:^)|[.!?\"'][ ]?){_GREETINGS}[ ]{NAME}[ ]?(?:[,!.:]|(?m:$))",
    rf"{_CLOSINGS}[,!.]?[ ]*\n\s*{NAME}[ ]*(?m:$)",
    rf"\b(?:I am|I'm)[ ]{_FULL}",
    rf"\b(?i:this is)[ ]{_FULL}(?:,|[ ](?:from|calling|speaking|here|writing))",
    rf"\b{_KIN}(?i:'s name)?(?i:,| is| is called| is named| named)?[ ]{NAME}",
    rf"\"?{_FULL}\"?[ ]?<[^<>@\s]{{1,64}}@",
)
_COMPANY = rf"\b((?:\p{{Lu}}[\p{{L}}\p{{N}}&.'-]*,?[ ](?:(?:and|&|und|et)[ ])?){{1,4}}{_LEGAL})\b"
_EMPLOYERS = (
    rf"(?:\b(?i:i work (?:at|for)|employed (?:at|by)|my employer is)[ ]|{LABEL}(?i:employer|company)[ \t]*:[ \t]*)"
)
_HOMES = any_of(
    "i (?:live|grew up|was born|was raised|reside|am based) in|i'm based in|we live in|i(?:'m| am| come) from"
)

NAMES = (
    *(Pattern(Kind.PERSON, context, person, cued=True) for context in _CONTEXTS),
    Pattern(Kind.ORGANISATION, _COMPANY),
    Pattern(Kind.ORGANISATION, _EMPLOYERS + NAME, person, cued=True),
    Pattern(Kind.PLACE, rf"\b{_HOMES}[ ]{NAME}", person, cued=True),
)
