"""Commands in what a model writes: tool calls are attempts to act, fenced blocks are advice."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from security.shell.detector import ShellDetector
from security.shell.outputs import MAX_COMMANDS, Written, blocks, tool_calls
from switchtower.models import Action, Finding, RiskLevel, Surface

DETECTOR = ShellDetector()


def findings(text: str) -> list[Finding]:
    return list(DETECTOR.findings(text, Surface.OUTPUT))


def arguments(command: str) -> str:
    return json.dumps({"command": command})


CALLS = {
    "plain": '{"command": "git reset --hard"}',
    "named": '{"name": "bash", "input": "git reset --hard"}',
    "list": '{"cmd": ["bash", "-lc", "git reset --hard"]}',
    "several": '{"commands": ["ls", "git reset --hard"]}',
    "arguments in a string": json.dumps(
        {"tool_calls": [{"function": {"name": "run", "arguments": arguments("git reset --hard")}}]}
    ),
    "arguments in an object": '{"type": "tool_use", "name": "shell", "input": {"command": "git reset --hard"}}',
    "code of a terminal": '{"tool": "terminal", "arguments": {"code": "git reset --hard"}}',
    "inside prose": 'I will do it now: {"a": {"b": [{"script": "git reset --hard"}]}} and report.',
    "nearly JSON": "{'command': 'git reset --hard',}",
    "cut off": '{"name": "bash", "arguments": {"command": "git reset --hard"',
    "escaped": '{"command": "git\\u0020reset \\"--hard\\""}',
    "tag": "<bash>git reset --hard</bash>",
    "tag with entities": "<command>ls &amp;&amp; git reset --hard</command>",
    "parameter": '<invoke name="x"><parameter name="command">git reset --hard</parameter></invoke>',
    "function": "<function=execute_bash>\n<parameter=command>git reset --hard</parameter>\n</function>",
    "open tag": "<execute_bash>git reset --hard",
    "reasoning and acting": "Thought: clean\nAction: terminal\nAction Input: git reset --hard\n",
    "fence of a tool": "```tool_code\ngit reset --hard\n```",
}


@pytest.mark.parametrize("text", CALLS.values(), ids=CALLS.keys())
def test_a_destructive_tool_call_is_critical(text: str) -> None:
    found = findings(text)
    assert [(one.rule, one.action, one.risk) for one in found] == [
        ("shell_git_reset", Action.BLOCK, RiskLevel.CRITICAL)
    ]
    assert found[0].explanation.startswith("In a tool call, `git` ")


HARMLESS = [
    '{"command": "git status"}',
    '{"name": "search", "arguments": {"query": "git reset --hard"}}',
    '{"title": "rm -rf /", "text": "about rm -rf /"}',
    "<p>rm -rf /</p> and <b>git reset --hard</b>",
    "Action: search\nAction Input: rm -rf /\n",
    "The command `rm -rf /` is dangerous.",
    "```bash\nrm -r folder\ngit reset --hard\n```",
    "```python\nprint('rm -rf /')\n```",
    "```\nrm -rf /\n```",
    "~~~json\n{}\n~~~",
    "{" * 400,
    "``` ``` ~~~ <bash> {",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_call_or_no_danger_passes(text: str) -> None:
    assert findings(text) == []


SHOWN = [
    "```bash\nrm -rf /\n```",
    "```sh\ncd /\nrm -rf *\n```\nDo not do this.",
    "~~~console\n$ sudo mkfs.ext4 /dev/sda1\nmke2fs 1.47\n~~~",
    "```\nuser@host:~$ rm -rf /\n```",
    "   ````shell\nrm -rf /\n````",
    "```bash\nrm -rf /",
    "```{.bash}\ndd if=/dev/zero of=/dev/sda\n```",
]


@pytest.mark.parametrize("text", SHOWN)
def test_only_what_destroys_a_system_is_blocked_in_a_fenced_block(text: str) -> None:
    (found,) = findings(text)
    assert (found.action, found.risk) == (Action.BLOCK, RiskLevel.HIGH)
    assert found.rule.endswith("_shown")
    assert found.explanation.startswith("In a code block, `")


@pytest.mark.parametrize(
    "text", ["<bash>rm -rf ", "<bash>echo 'rm -rf / ", "```bash\nrm -rf $X", '{"command": "rm -rf ', "<bash>sudo "]
)
def test_what_is_still_being_written_counts_only_where_no_next_word_can_make_it_good(text: str) -> None:
    assert findings(text) == []


def test_a_call_that_cannot_be_decided_is_asked() -> None:
    (found,) = findings('{"command": "rm -rf $DIR"}')
    assert (found.action, found.risk) == (Action.ASK, RiskLevel.MEDIUM)


def test_a_danger_is_reported_once_and_no_more_commands_are_read_than_the_limit() -> None:
    assert len(findings("<bash>git reset --hard</bash>" * 3)) == 1
    many = "".join(f"<bash>ls {number}</bash>" for number in range(MAX_COMMANDS))
    assert findings(many + "<bash>git reset --hard</bash>") == []


def test_commands_are_cut_out_whole() -> None:
    assert list(tool_calls("<bash>ls\n-l</bash><cmd>pwd")) == [Written("ls\n-l"), Written("pwd", complete=False)]
    assert list(blocks("```sh\nls\n```\n~~~\n$ a\nb\n# c\n~~~")) == [Written("ls\n"), Written("a\nc")]


def test_other_surfaces_are_left_to_others() -> None:
    text = '{"command": "rm -rf /"}'
    assert not list(DETECTOR.findings(text, Surface.INPUT))
    assert not list(DETECTOR.findings(text, Surface.DOCUMENT))
    assert list(DETECTOR.findings("rm -rf /", Surface.COMMAND))


def test_the_version_names_what_the_findings_depend_on() -> None:
    assert ShellDetector().version == DETECTOR.version
    assert DETECTOR.version.startswith("shell:")


PIECES = st.sampled_from(
    [
        "```",
        "```bash",
        "~~~",
        "\n",
        "{",
        "}",
        "[",
        "]",
        '"command"',
        ":",
        '"rm -rf /"',
        '{"cmd":',
        "\\",
        "'",
        "�",
        "<bash>",
        "</bash>",
        "<command>",
        " ",
        "Action: bash\n",
        "Action Input: ls\n",
        "$ ls",
        "text",
        "&lt;",
        "é",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=40).map("".join)))
def test_no_output_whatever_makes_the_search_fail(text: str) -> None:
    assert findings(text) == findings(text)
