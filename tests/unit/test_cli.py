"""The command line without a line: help, wrong input, errors in one line, exit codes."""

from __future__ import annotations

import re
from importlib.metadata import entry_points

import pytest

from switchtower import __version__

OWN = ("ask", "submit", "status", "result", "cancel", "keys")
ROOMS = tuple(point.name for point in entry_points(group="switchtower.commands"))
NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """A home without keys, and a broker that nobody runs."""
    monkeypatch.setenv("SWITCHTOWER_HOME", str(tmp_path))
    monkeypatch.setenv("SWITCHTOWER_BROKER__URL", NOBODY)
    monkeypatch.setenv("SWITCHTOWER_SECURITY__KEYS_DIRECTORY", str(tmp_path / "keys"))


@pytest.mark.parametrize("command", [*OWN, *ROOMS])
def test_every_command_explains_itself(switchtower, command):
    run = switchtower(command, "--help")
    assert run.code == 0
    assert f"switchtower {command}" in run.out


def test_the_help_lists_the_commands_of_all_rooms(switchtower):
    run = switchtower("--help")
    assert run.code == 0
    listed = set(re.findall(r"^│ ([a-z]+)  ", run.out, re.MULTILINE))
    assert listed >= {*OWN, *ROOMS}


def test_the_version(switchtower):
    assert switchtower("--version").out.strip() == f"switchtower {__version__}"


def test_an_unknown_command_is_a_usage_error(switchtower):
    run = switchtower("no-such-command")
    assert run.code == 2
    assert "no-such-command" in run.err


# -- input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", ["not json", '{"prompt": ""}', '{"prompt": 1}', '{"question": "?"}', '"  "', "[]", "null", "1"]
)
def test_a_bad_line_is_named_with_its_number(switchtower, tmp_path, wrong):
    file = tmp_path / "questions.jsonl"
    file.write_text(f'"first"\n\n{wrong}\n"last"\n')
    run = switchtower("submit", "--file", str(file))
    assert run.code == 2
    assert "questions.jsonl:3:" in run.err
    assert "Traceback" not in run.err


def test_a_file_that_is_not_there_is_named(switchtower, tmp_path):
    run = switchtower("submit", "--file", str(tmp_path / "nowhere.jsonl"))
    assert run.code == 2
    assert "nowhere.jsonl" in run.err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--label", "bug"), "at least 2"),
        (("--label", "bug", "--label", "bug"), "twice"),
        (("--schema", "nowhere.json"), "nowhere.json"),
        (("--label", "a", "--label", "b", "--schema", "schema.json"), "not both"),
        (("--schema", "schema.json"), "not JSON"),
    ],
)
def test_a_format_that_cannot_be_is_a_usage_error(switchtower, tmp_path, monkeypatch, words, why):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schema.json").write_text("{")
    run = switchtower("ask", "hello", *words)
    assert run.code == 2
    assert why in run.err


def test_a_blank_question_is_a_usage_error(switchtower):
    run = switchtower("ask", "  ")
    assert run.code == 2
    assert "blank" in run.err


@pytest.mark.parametrize(
    "words",
    [
        ("ask", "hello", "--privacy", "top-secret"),
        ("ask", "hello", "--max-tokens", "0"),
        ("ask", "hello", "--capability", "magic"),
        ("worker", "no-such-kind"),
        ("keys", "create", "no-such-role"),
    ],
)
def test_a_wrong_option_is_a_usage_error(switchtower, words):
    run = switchtower(*words)
    assert run.code == 2
    assert "Traceback" not in run.err


# -- errors ---------------------------------------------------------------------------------------


def expect_one_line(run, name):
    """The error's name and what to do about it, in one line, and exit code 1."""
    assert run.code == 1
    assert run.err.startswith(f"{name}: ")
    assert len(run.err.strip().splitlines()) == 1


def test_without_keys_it_says_how_to_make_them(switchtower):
    run = switchtower("ask", "hello")
    expect_one_line(run, "ConfigurationError")
    assert "switchtower keys create" in run.err.replace("\n", " ")


@pytest.mark.parametrize("words", [("ask", "hello"), ("status",), ("models", "list"), ("lockdown", "status")])
def test_without_a_broker_it_says_so(switchtower, words):
    assert switchtower("keys", "create").code == 0
    expect_one_line(switchtower(*words), "BrokerUnavailable")


def test_a_wrong_setting_is_named(switchtower, monkeypatch):
    monkeypatch.setenv("SWITCHTOWER_LINE__LEASE_S", "never")
    run = switchtower("ask", "hello")
    expect_one_line(run, "ConfigurationError")
    assert "line.lease_s" in run.err


def test_keys_are_made_once(switchtower, tmp_path):
    first, second = switchtower("keys", "create", "client"), switchtower("keys", "create", "client")
    assert first.out.startswith("client-")
    assert "already" in second.out
    assert (tmp_path / "keys" / "client.key").stat().st_mode & 0o077 == 0
