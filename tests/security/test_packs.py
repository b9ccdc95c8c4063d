"""Rule packs: what a pack must be, and how a bad one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from security.pack_files import stamps
from security.packs import RULES, RulePack
from security.rule import entropy
from switchtower.errors import RuleError
from switchtower.models import Action, RiskLevel, Surface

GOOD = """\
[[rule]]
name = "no_cats"
pattern = '\\bcats?\\b'
applies_to = ["input"]
risk = "high"
action = "block"
explanation = "Cats are not allowed here; write about dogs."
matches = ["a cat", "CATS"]
passes = ["a dog", "category"]
"""


def write(folder: Path, text: str, name: str = "pack.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def reason(*files: Path) -> str:
    with pytest.raises(RuleError) as caught:
        RulePack.load(files)
    return str(caught.value)


def test_a_sound_pack_loads(tmp_path: Path) -> None:
    (rule,) = RulePack.load([write(tmp_path, GOOD)]).rules
    assert (rule.name, rule.risk, rule.action) == ("no_cats", RiskLevel.HIGH, Action.BLOCK)
    assert rule.applies_to == {Surface.INPUT}


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('risk = "high"', 'risk = "high', 5, "bad TOML"),
        ('risk = "high"', 'risk = "huge"', 5, "risk: "),
        ('risk = "high"', 'risk = "critical"\nseverity = 3', 6, "unknown field `severity`"),
        ('action = "block"', 'action = "shrug"', 6, "action: "),
        ('risk = "high"\naction = "block"', 'risk = "critical"\naction = "ask"', 6, "a critical rule must block"),
        ('action = "block"', 'action = "allow"', 6, "a high rule must ask or block"),
        ("pattern = '\\bcats?\\b'", "pattern = '(cat'", 3, "not RE2 syntax: missing )"),
        ("pattern = '\\bcats?\\b'", "pattern = '(a)\\1'", 3, "not RE2 syntax"),
        ("pattern = '\\bcats?\\b'", "pattern = 'cat(?=s)'", 3, "not RE2 syntax"),
        ("pattern = '\\bcats?\\b'", "pattern = 'c*'", 3, "matches the empty text"),
        ("pattern = '\\bcats?\\b'", "pattern = ''", 3, "pattern: "),
        ("pattern = '\\bcats?\\b'", "pattern = '{{animal}}'", 3, "unknown part `animal`"),
        ("pattern = '\\bcats?\\b'", "pattern = 7", 3, "pattern: "),
        ("pattern = '\\bcats?\\b'\n", "", 1, "pattern: "),
        ('name = "no_cats"', 'name = "No cats!"', 2, "name: "),
        ('applies_to = ["input"]', "applies_to = []", 4, "applies_to: "),
        ('applies_to = ["input"]', 'applies_to = ["moon"]', 4, "applies_to: "),
        ("Cats are not allowed here; write about dogs.", "no", 7, "explanation: "),
        ('"CATS"', '"DOGS"', 8, "example 2 of `matches` does not match on input"),
        ('"category"', '"cat egory"', 9, "example 2 of `passes` matches on input"),
        ('matches = ["a cat", "CATS"]', "matches = []", 8, "matches: "),
        ('passes = ["a dog", "category"]', "", 1, "passes: "),
        ("pattern = '\\bcats?\\b'", "pattern = '\\pL+cats'", 3, "engines know different versions of Unicode"),
        (
            "pattern = '\\bcats?\\b'",
            "pattern = '(?:a|$)cats?$d'",
            3,
            "the pattern does not compile: Hyperscan: Embedded",
        ),
        ('risk = "high"', 'risk = "high"\nmin_entropy = 9', 6, "min_entropy: "),
        ('risk = "high"', 'risk = "high"\nmin_entropy = 3', 9, "example 1 of `matches` does not match on input"),
        ("[[rule]]", "colour = 1\n[[rule]]", 1, "unknown field `colour`"),
        ("[[rule]]", "parts = 1\n[[rule]]", 1, "`parts` must be a table"),
        ("[[rule]]", "[parts]\nanimal = 1\n[[rule]]", 2, "part `animal`: must be a string"),
        ("[[rule]]", "[parts]\nanimal = '{{beast}}'\n[[rule]]", 2, "unknown part `beast`"),
    ],
)
def test_a_bad_pack_names_file_line_and_reason(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    assert old in GOOD
    file = write(tmp_path, GOOD.replace(old, new))
    message = reason(file)
    assert message.startswith(f"{file}:{line}: ")
    assert said in message


def test_the_line_is_that_of_the_second_rule(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD + "\n" + GOOD.replace("no_cats", "no_cats_again").replace('"high"', '"huge"'))
    assert reason(file).startswith(f"{file}:15: rule `no_cats_again`: risk: ")


def test_a_name_is_used_once(tmp_path: Path) -> None:
    first, second = write(tmp_path, GOOD, "a.toml"), write(tmp_path, GOOD, "b.toml")
    assert reason(first, second) == f"{second}:2: rule `no_cats` is already defined at {first}:2"


@pytest.mark.parametrize("text", ["", "# nothing\n", "rule = []\n", "rule = 3\n"])
def test_a_file_without_rules_is_refused(tmp_path: Path, text: str) -> None:
    assert "no `[[rule]]` in this file" in reason(write(tmp_path, text))


@pytest.mark.parametrize("text", ["rule = [1]\n", "rule = [{}]\n"])
def test_a_rule_must_be_a_whole_table(tmp_path: Path, text: str) -> None:
    assert ":1: rule `?`: " in reason(write(tmp_path, text))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert "would pass everything" in reason(tmp_path)


def test_no_path_is_refused() -> None:
    assert "no rules" in reason()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert f"{tmp_path / 'none.toml'}:1: cannot be read" in reason(tmp_path / "none.toml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pack.toml"
    file.write_bytes(b"# one\n# two \xff\n")
    assert reason(file) == f"{file}:2: not UTF-8"


def test_parts_are_filled_in_order(tmp_path: Path) -> None:
    parts = "[parts]\nletter = '[a-c]'\nanimal = '{{letter}}ats?'\n"
    pack = RulePack.load([write(tmp_path, parts + GOOD.replace("\\bcats?\\b", "\\b{{animal}}\\b"))])
    assert pack.rules[0].pattern == "\\b[a-c]ats?\\b"


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    other = GOOD.replace("no_cats", "also_no_cats")
    one = RulePack.load([write(tmp_path, GOOD + other, "one.toml")])
    two = RulePack.load([write(tmp_path, "# moved\n" + other, "b.toml"), write(tmp_path, GOOD, "a.toml")])
    changed = RulePack.load([write(tmp_path, GOOD.replace('"high"', '"medium"') + other, "c.toml")])
    assert one.hash == two.hash != changed.hash
    assert len(one.hash) == 64


def test_a_value_that_is_not_random_enough_does_not_count(tmp_path: Path) -> None:
    rule = GOOD.replace("\\bcats?\\b", "\\bcat-(?P<value>[a-z0-9]{8})").replace("category", "cat-aaaaaaaa")
    rule = rule.replace('["a cat", "CATS"]', '["cat-aaaaaaaa cat-q8zr3tnv"]').replace(
        "[[rule]]", "[[rule]]\nmin_entropy = 2.5"
    )
    (found,) = RulePack.load([write(tmp_path, rule)]).rules
    assert found.confirms("cat-q8zr3tnv")
    assert not found.confirms("cat-abababab")


def test_where_the_value_has_no_part_the_whole_match_counts(tmp_path: Path) -> None:
    rule = GOOD.replace("\\bcats?\\b", "\\bcat|dog(?P<value>s)").replace('"category"', '"dogs"')
    (found,) = RulePack.load([write(tmp_path, rule.replace("[[rule]]", "[[rule]]\nmin_entropy = 1"))]).rules
    assert found.confirms("a cat")
    assert not found.confirms("dogs")


@pytest.mark.parametrize(("value", "bits"), [("aaaa", 0), ("abab", 1), ("abcdefgh", 3), ("", 0)])
def test_entropy_is_shannons(value: str, bits: float) -> None:
    assert entropy(value) == pytest.approx(bits)


def test_the_stamps_change_when_a_file_does(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)
    before = RulePack.load([tmp_path]).stamps
    assert before == stamps([tmp_path])
    file.rename(tmp_path / "other.toml")
    renamed = stamps([tmp_path])
    write(tmp_path, GOOD, "another.toml")
    gone = stamps([tmp_path / "none.toml"])
    assert len({before, renamed, stamps([tmp_path]), gone}) == 4


def test_our_own_packs_load_and_use_every_surface() -> None:
    pack = RulePack.load()
    assert pack.paths == (RULES,)
    assert all(pack.on(surface) for surface in Surface)
    assert len(pack.rules) >= 70


def test_only_plainly_destructive_commands_can_lock_the_line_down() -> None:
    critical = {
        rule.name
        for rule in RulePack.load().rules
        if rule.risk is RiskLevel.CRITICAL and rule.applies_to & {Surface.INPUT, Surface.OUTPUT}
    }
    assert critical == {"dangerous_rm", "fork_bomb"}
