"""Reading the trail by hand: search, tail, head, and taking it elsewhere."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from security.audit.commands import app
from switchtower.envelope import Role


def lines(*words):
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_search_finds_by_everything_that_is_given(trail):
    (mine,) = trail.put(1, outcome="block", actor="switchtower.review", facts={"rules": ("curl_pipe_shell",)})
    trail.put(2)
    trail.put(1, role=Role.CONTROLLER, topic="release", outcome="released", actor="controller-1")
    trail.written()
    assert [row["event"] for row in lines("search", "--json", "--job", mine.job)] == [mine.id]
    assert [row["event"] for row in lines("search", "--json", "--actor", "switchtower.review")] == [mine.id]
    assert [row["event"] for row in lines("search", "--json", "--text", "PIPE_sh")] == [mine.id]
    assert lines("search", "--json", "--text", "curl%shell") == []
    assert [row["topic"] for row in lines("search", "--json", "--outcome", "released")] == ["release"]
    assert len(lines("search", "--json", "--topic", "verdict", "--since", "1h")) == 3
    assert lines("search", "--json", "--until", "2020-01-01") == []
    assert lines("search", "--json", "--topic", "verdict", "--outcome", "released") == []
    assert len(lines("search", "--json", "-n", "2")) == 2
    table = CliRunner().invoke(app, ["search", "--job", mine.job]).stdout
    assert {"seq", "1", "block"} <= set(table.split())


def test_a_time_that_is_none_is_a_usage_error(trail):
    assert CliRunner().invoke(app, ["search", "--since", "yesterday"]).exit_code == 2


def test_an_events_words_cannot_steer_a_terminal(trail):
    trail.put(1, role=None, topic="refusal", outcome="x", facts={"a": "\x1b[2J\u202e[red]gone", "\x9b": "[/]"})
    trail.written()
    for command in (["search"], ["search", "--json"], ["tail"]):
        run = CliRunner().invoke(app, command)
        assert run.exit_code == 0
        assert not {"\x1b", "\x9b", "\u202e"} & set(run.stdout), command
    assert "[red]gone" in run.stdout


def test_tail_goes_on_with_what_comes(trail, monkeypatch):
    trail.written(3)
    seen = []

    def come(_seconds):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(trail.written(1)[-1].event)

    monkeypatch.setattr("security.audit.commands.time", SimpleNamespace(sleep=come))
    run = CliRunner().invoke(app, ["tail", "-f", "-n", "2", "--json", "--topic", "verdict"])
    assert run.exit_code == 130
    assert [json.loads(line)["event"] for line in run.stdout.splitlines()][2:] == seen


def test_the_head_is_where_the_chain_ends(trail):
    rows = trail.written(4)
    assert CliRunner().invoke(app, ["head"]).stdout.split() == ["4", rows[-1].hash]
    trail.admin("DELETE FROM switchtower.audit WHERE seq = 4")
    assert "row 4 is not the one" in str(CliRunner().invoke(app, ["head"]).exception)


# -- taking it elsewhere --------------------------------------------------------------------------


@pytest.fixture
def exported(trail, tmp_path):
    trail.written(9)
    path = tmp_path / "trail.jsonl"
    assert CliRunner().invoke(app, ["export", str(path)]).exit_code == 0
    trail.clear()
    return path


def test_an_export_is_verified_without_the_database(exported, monkeypatch):
    monkeypatch.delenv("SWITCHTOWER_AUDIT__READER_URL")
    run = CliRunner().invoke(app, ["verify", "--file", str(exported)])
    assert run.exit_code == 0, run
    assert "sound: 9 rows" in run.stdout


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda lines: [line.replace('"allow"', '"block"') for line in lines[:5]] + lines[5:], "row 1: its content"),
        (lambda lines: lines[:4] + lines[5:], "row 4: missing"),
        (lambda lines: lines[:9] + lines[10:], "row 9: missing: the trail was cut off"),
        (lambda lines: lines[:-1], "is cut off: its last line"),
        (lambda lines: lines[1:], "trail.jsonl:1: not a line of an export"),
        (lambda lines: [*lines[:3], "{", *lines[3:]], "trail.jsonl:4: not a line of an export"),
        (lambda lines: [*lines[:3], '{"row":{"seq":1}}', *lines[3:]], "trail.jsonl:4: not a row"),
        (lambda lines: [line.replace('"wire":"switchtower.audit.head"', '"wire":"x"') for line in lines], "not a head"),
    ],
)
def test_an_export_that_was_touched_is_not_believed(exported, edit, said):
    exported.write_text("\n".join(edit(exported.read_text().splitlines())) + "\n")
    assert said in str(CliRunner().invoke(app, ["verify", "--file", str(exported)]).exception)


def test_an_export_overwrites_nothing(exported):
    assert "cannot be written" in str(CliRunner().invoke(app, ["export", str(exported)]).exception)
