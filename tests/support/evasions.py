"""Generators of shell commands in disguise, and of commands that only mention others.

`disguised` takes a dangerous command and writes it in up to three other ways, one around the other, each of which runs
the same: quotes, escapes, variables, `$IFS`, braces, encodings, wrappers, nesting. `mentioned` takes one and writes a
command in which it is data. `real` are the ways that a plain bash can run without privileges, so that a test can prove
that a disguise is none that breaks the command.

`EVASIONS=2000 pytest tests/security/test_shell_evasions.py` tries that many instead of the default number.
"""

from __future__ import annotations

import base64
import os
import shlex
from collections.abc import Callable

from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("EVASIONS", "150"))

SEEDS = (
    "rm -rf /",
    "rm -r -f /etc",
    "rm --recursive --force /home",
    "rm -rf /var/lib/data",
    "git reset --hard",
    "git push --force origin main",
    "git clean -fdx",
    "mkfs.ext4 /dev/sda1",
    "dd if=/dev/zero of=/dev/sda",
    "chmod -R 777 /",
    "kill -9 -1",
    "crontab -r",
    "shred /dev/sda",
    "shutdown -h now",
    "find / -delete",
    "kubectl delete namespace prod",
    "terraform destroy -auto-approve",
    "docker system prune -af",
    "dropdb prod",
    "iptables -F",
)
"""Dangerous commands of plain words: nothing in them means anything to the shell but the blanks between."""

_CODES = st.sampled_from(["\\x{0:02x}", "\\{0:03o}", "\\u{0:04x}"])
Disguise = Callable[[st.DrawFn, str], str]


def _chars(draw: st.DrawFn, command: str, write: Callable[[str], str]) -> str:
    """Write some letters of the command in another way."""
    places = [place for place, char in enumerate(command) if char.isalpha()]
    chosen = draw(st.sets(st.sampled_from(places), min_size=1, max_size=6))
    return "".join(write(char) if place in chosen else char for place, char in enumerate(command))


def _quoted(draw: st.DrawFn, command: str) -> str:
    return _chars(
        draw, command, lambda char: draw(st.sampled_from([f"'{char}'", f'"{char}"', f"{char}''", f'""{char}']))
    )


def _escaped(draw: st.DrawFn, command: str) -> str:
    return _chars(draw, command, lambda char: "\\" + char)


def _ansi(draw: st.DrawFn, command: str) -> str:
    return _chars(draw, command, lambda char: "$'" + draw(_CODES).format(ord(char)) + "'")


def _emptied(draw: st.DrawFn, command: str) -> str:
    return _chars(
        draw, command, lambda char: char + draw(st.sampled_from(["${u}", "$@", "$*", "${u:-}", "$(true)", "``"]))
    )


def _continued(draw: st.DrawFn, command: str) -> str:
    return _chars(draw, command[:-1], lambda char: char + "\\\n") + command[-1]


def _spaced(draw: st.DrawFn, command: str) -> str:
    return "".join(draw(st.sampled_from(["  ", "\t", " \t ", " \\\n "])) if char == " " else char for char in command)


def _separated(draw: st.DrawFn, command: str) -> str:
    return command.replace(" ", draw(st.sampled_from(["${IFS}", "$IFS$9", "${IFS:0:1}", "$IFS''"])))


def _in_braces(draw: st.DrawFn, command: str) -> str:
    words = command.split(" ")
    return "{" + ",".join(words) + "}" if len(words) > 1 else command


def _in_variables(draw: st.DrawFn, command: str) -> str:
    name, cut = draw(st.sampled_from(["a", "x1", "CMD"])), draw(st.integers(1, len(command) - 1))
    used = draw(st.sampled_from([f"${name}", f"${{{name}}}", f"${{{name}:-ls}}"]))
    if command[cut - 1] == " " or command[cut] == " ":
        return f"{name}={shlex.quote(command)}; {used}"
    return f"{name}={shlex.quote(command[:cut])}; ${{{name}}}{command[cut:]}"


def _in_array(draw: st.DrawFn, command: str) -> str:
    return f'a=({command}); "${{a[@]}}"'


def _in_arguments(draw: st.DrawFn, command: str) -> str:
    return f"set -- {command}; {draw(st.sampled_from(['$@', '$*']))}"


def _substituted(draw: st.DrawFn, command: str) -> str:
    word, _, rest = command.partition(" ")
    form = draw(st.sampled_from(["$(echo {})", "$(printf %s {})", "`echo {}`", "$(echo -n {})", "$(cat <<< {})"]))
    return f"{form.format(word)} {rest}"


PLAIN: tuple[Disguise, ...] = (
    _quoted,
    _escaped,
    _ansi,
    _emptied,
    _continued,
    _spaced,
    _separated,
    _in_braces,
    _in_variables,
    _in_array,
    _in_arguments,
    _substituted,
)
"""Ways to write a command of plain words."""


def _evaluated(draw: st.DrawFn, script: str) -> str:
    return draw(
        st.sampled_from(["eval {}", "bash -c {}", "sh -c {}", "bash <<< {}", "source /dev/stdin <<< {}"])
    ).format(shlex.quote(script))


def _encoded(draw: st.DrawFn, script: str) -> str:
    packed, hexed = base64.b64encode(script.encode()).decode(), script.encode().hex()
    forms = [
        f"echo {packed} | base64 -d | sh",
        f'eval "$(echo {packed} | base64 --decode)"',
        f"bash -c \"$(printf %s '{packed}' | base64 -d)\"",
        f"base64 -d <<< {packed} | bash",
        f"echo {hexed} | xxd -r -p | sh",
        f"printf '{''.join(f'%c{ord(c):03o}' % 92 for c in script)}' | sh",
        f"rev <<< {shlex.quote(script[::-1])} | sh" if "\n" not in script else f"printf %s {shlex.quote(script)} | sh",
    ]
    return draw(st.sampled_from(forms))


def _documented(draw: st.DrawFn, script: str) -> str:
    shell = draw(st.sampled_from(["sh", "bash", "cat | sh", "cat - | bash -s"]))
    head, _, rest = shell.partition(" | ")
    return f"{head} <<'END'{' | ' + rest if rest else ''}\n{script}\nEND\n"


def _placed(draw: st.DrawFn, script: str) -> str:
    forms = [
        "( {} )",
        "{{ {}; }}",
        "true && {{ {}; }}",
        "false || {{ {}; }}",
        "ls; {}",
        "echo y | {{ {}; }}",
        "{{ {}; }} | cat",
        "! {{ {}; }}",
        "echo $( {} )",
        "echo `{}`" if "`" not in script and "\\" not in script else "echo $( {} )",
        'echo "$( {} )"',
        "cat <({})",
        "if true; then {}; fi",
        "while true; do {}; break; done",
        "for i in 1; do {}; done",
        "case a in a) {}\n;; esac",
        "f() {{ {}; }}; f",
        "function g {{ {}; }}; g",
        "{} # harmless",
        "# harmless\n{}",
        "x=1; {}",
        "{{ {}; }} 2> /dev/null",
        ": ${{v:=$( {} )}}",
    ]
    form = draw(st.sampled_from(forms))
    if script.isprintable() and "#" not in script:
        return form.format(script)
    # What ends in a here-document or a comment cannot be followed on its line.
    return form.replace("{};", "{}").replace("{}", "{}\n").format(script)


def _deferred(draw: st.DrawFn, script: str) -> str:
    quoted = shlex.quote(script)
    return draw(st.sampled_from([f"(trap {quoted} EXIT)", f"echo {quoted} > s.sh; sh s.sh", f"bash <(echo {quoted})"]))


def _wrapped(draw: st.DrawFn, script: str) -> str:
    shell = f"sh -c {shlex.quote(script)}"
    return draw(
        st.sampled_from(["env A=1 {}", "nohup {}", "timeout 9 {}", "nice -n 5 {}", "command {}", "exec {}", "time {}"])
    ).format(shell)


def _privileged(draw: st.DrawFn, script: str) -> str:
    quoted = shlex.quote(script)
    forms = [
        f"sudo sh -c {quoted}",
        f"sudo -u root -E bash -c {quoted}",
        f"su - root -c {quoted}",
        f"ssh -p 22 host {quoted}",
        f"docker run --rm -it -v /:/mnt alpine sh -c {quoted}",
        f"kubectl exec -it pod -- sh -c {quoted}",
        f"xargs -I{{}} sh -c {quoted} < list",
        f"find . -maxdepth 0 -exec sh -c {quoted} \\;",
        f"parallel sh -c {quoted} ::: 1",
        f"flock /tmp/l sh -c {quoted}",
        f"busybox sh -c {quoted}",
        f"watch {quoted}",
        f"alias z={quoted}; z",
        f"echo {quoted} | at now",
        f"setsid -w stdbuf -o0 sh -c {quoted}",
        f"tmux new -d {quoted}",
        f"script -qc {quoted} /dev/null",
    ]
    return draw(st.sampled_from(forms))


def _programmed(draw: st.DrawFn, script: str) -> str:
    literal = (
        '"' + "".join(f"\\x{byte:02x}" if chr(byte) in "\"'\\\n$`" else chr(byte) for byte in script.encode()) + '"'
    )
    forms = [
        "python3 -c 'import os; os.system({})'",
        "python3 -c 'import subprocess as s; s.run({}, shell=True)'",
        "perl -e 'system({})'",
        "ruby -e 'system({})'",
        "node -e 'require(\"child_process\").execSync({})'",
        "php -r 'shell_exec({});'",
    ]
    return draw(st.sampled_from(forms)).replace("{}", literal)


AROUND: tuple[Disguise, ...] = (_evaluated, _encoded, _documented, _placed, _deferred, _wrapped)
"""Ways to run any script that bash itself, or what every system has, can carry out."""
BEYOND: tuple[Disguise, ...] = (_privileged, _programmed)
"""Ways that need other users, machines or languages."""


@st.composite
def real(draw: st.DrawFn, command: str) -> str:
    """A command of plain words in a disguise that plain bash sees through."""
    written = draw(st.sampled_from(PLAIN))(draw, command) if draw(st.booleans()) else command
    for _ in range(draw(st.integers(0, 2))):
        written = draw(st.sampled_from(AROUND))(draw, written)
    return written


@st.composite
def disguised(draw: st.DrawFn, commands: st.SearchStrategy[str] | None = None) -> str:
    """One of the dangerous commands, in up to three disguises, one around the other."""
    command = draw(commands or st.sampled_from(SEEDS))
    written = draw(st.sampled_from(PLAIN))(draw, command) if draw(st.booleans()) else command
    for _ in range(draw(st.integers(0, 2))):
        written = draw(st.sampled_from(AROUND + BEYOND))(draw, written)
    return written


@st.composite
def mentioned(draw: st.DrawFn) -> str:
    """A harmless command in which a dangerous one is data."""
    command = draw(st.sampled_from(SEEDS))
    data = draw(
        st.sampled_from([command, f"first line\n{command}", f"a; {command}", f"never `{command}`", f"x && {command}"])
    )
    quoted = shlex.quote(data)
    forms = [
        f"echo {quoted}",
        f"printf '%s\\n' {quoted}",
        f"grep -rn {quoted} docs",
        f"git commit -m {quoted}",
        f"git log --grep {quoted} --oneline",
        f"ls # {command}",
        f"# {command}",
        f"cat <<'END'\n{data}\nEND",
        f"cat > notes.md <<'END'\n{data}\nEND",
        f"tee -a notes.md <<'END'\n{data}\nEND",
        f"note={quoted}",
        f"export NOTE={quoted}",
        f'test "$x" = {quoted}',
        f"[[ $x == {quoted} ]] && echo same",
        f"sed {shlex.quote('s/a/b/')} <<'END'\n{data}\nEND",
        f"echo {quoted} | wc -c",
        f"echo {quoted} > notes.txt",
        f"gh issue create --title x --body {quoted}",
        f"python3 -c {shlex.quote('print(' + repr(data) + ')')}",
        f"bash -c {shlex.quote('echo ' + quoted)}",
        f"sudo echo {quoted}",
        f"env A={quoted} ls",
        f"man {command.partition(' ')[0]}",
        f"which {command.partition(' ')[0]}",
        f"case {quoted} in a) ls;; esac",
        f"for w in {quoted}; do echo $w; done",
        f"curl -d {quoted} http://localhost/notes",
        f"jq -n --arg a {quoted} .",
    ]
    return draw(st.sampled_from(forms))
