"""The tables of dangerous commands prove themselves, and so does the table of wrappers."""

from __future__ import annotations

import pytest

from security.shell import dangers
from security.shell.analysis import analyse
from security.shell.call import program, sort_options
from security.shell.dangers import Danger
from security.shell.tables import Row, rows
from security.shell.wrappers import WRAPPERS
from switchtower.models import Action, RiskLevel

ROWS = [pytest.param(row, id=row.danger.name) for row in rows()]
CODED = [danger for danger in vars(dangers).values() if isinstance(danger, Danger)]


def found(command: str) -> set[str]:
    return {finding.rule.removeprefix("shell_") for finding in analyse(command).findings}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_finds_its_examples_and_passes_the_others(row: Row) -> None:
    assert row.matches
    assert row.passes
    for command in row.matches:
        assert row.danger.name in found(command), command
    for command in row.passes:
        assert not found(command), command


@pytest.mark.parametrize("danger", [*(row.danger for row in rows()), *CODED], ids=lambda danger: danger.name)
def test_a_danger_explains_itself_and_its_risk_fits_its_action(danger: Danger) -> None:
    assert danger.explanation.endswith(".")
    assert danger.explanation[0].islower()
    assert danger.action is not Action.ALLOW
    assert danger.action is Action.BLOCK or danger.risk is not RiskLevel.CRITICAL


def test_every_danger_has_a_name_of_its_own() -> None:
    names = [danger.name for danger in (*(row.danger for row in rows()), *CODED)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("row", ROWS)
def test_asking_for_help_is_harmless(row: Row) -> None:
    assert row.danger.name not in found(f"{next(iter(row.commands))} --help")


WRAPPED = {
    "sudo": "sudo -u root -E A=1 {}",
    "doas": "doas -u x {}",
    "su": "su - x -c '{}'",
    "runuser": "runuser -u x -- {}",
    "env": "env -i -u B A=1 {}",
    "xargs": "xargs -0 -n 1 {}",
    "timeout": "timeout -k 5 10s {}",
    "nohup": "nohup {}",
    "nice": "nice -n 5 {}",
    "ionice": "ionice -c 3 {}",
    "stdbuf": "stdbuf -oL {}",
    "setsid": "setsid -w {}",
    "watch": "watch -n 5 '{}'",
    "time": "time -p {}",
    "command": "command -p {}",
    "builtin": "builtin {}",
    "exec": "exec -a x {}",
    "busybox": "busybox {}",
    "chroot": "chroot --userspec=a /mnt {}",
    "unshare": "unshare -r {}",
    "ssh": "ssh -p 22 -i key user@host -- {}",
    "docker": "docker run --rm -v /a:/b --name x image {}",
    "podman": "podman exec -it box {}",
    "kubectl": "kubectl -n prod exec -it pod -c x -- {}",
    "flock": "flock -w 5 lock {}",
    "script": "script -qc '{}' out",
    "strace": "strace -f -e trace=file {}",
    "find": "find . -maxdepth 0 -exec {} \\;",
    "parallel": "parallel -j 2 {} ::: x",
    "nsenter": "nsenter -t 1 -m {}",
    "systemd-run": "systemd-run --user {}",
    "npx": "npx -c '{}'",
    "doppler": "doppler run --project x -- {}",
    "tmux": "tmux new-session -d -s x '{}'",
    "please": "please run {}",
    "unknown option": "sudo --new-option value {}",
}


@pytest.mark.parametrize("form", WRAPPED.values(), ids=WRAPPED.keys())
def test_a_command_is_seen_through_its_wrapper(form: str) -> None:
    assert "git_reset" in found(form.format("git reset --hard"))
    assert not found(form.format("git status"))


@pytest.mark.parametrize(
    "command", ["command -v rm", "sudo -l", "sudo -v", "ionice -p 1", "docker ps", "kubectl get pods"]
)
def test_a_wrapper_that_runs_nothing_is_harmless(command: str) -> None:
    assert not found(command)


def test_wrappers_have_handlers() -> None:
    assert {"sudo", "env", "timeout", "nohup", "ssh", "docker", "su", "flock"} <= WRAPPERS.keys()


def test_the_program_of_a_word() -> None:
    assert [program(word) for word in ("rm", "/bin/RM", "./x", "cmd.exe", "a/", "")] == ["rm", "rm", "x", "cmd", "", ""]


def test_options_fall_into_letters_and_take_their_values() -> None:
    options = sort_options(["-rf", "-n5", "-o", "x", "--long=1", "--other", "a", "--", "-b"], frozenset({"-n", "-o"}))
    assert options.flags == {"-r", "-f", "-n", "-o", "--long", "--other"}
    assert options.values == {"-n": "5", "-o": "x", "--long": "1"}
    assert options.operands == ["a", "-b"]
    assert sort_options(["-a", "ls", "-l"], leading=True).operands == ["ls", "-l"]
    assert not options.any("--different", "-x")
    assert sort_options(["--rec"]).any("--recursive")
