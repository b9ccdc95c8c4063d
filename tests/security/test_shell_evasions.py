"""However a dangerous command is written, it is never allowed; however one is mentioned, it is never blocked."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from security.packs import RulePack
from security.shell.analysis import analyse
from security.shell.guardrail import ShellGuardrail
from switchtower.models import Action, Surface
from tests.support.evasions import EXAMPLES, SEEDS, disguised, mentioned, real

GUARD = ShellGuardrail(RulePack.load())
TRIED = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_VOCABULARY = """
rm -rf / $( ) ` " ' { } (( )) [[ ]] <<E E ; && || | & > < <<< $x ${x ${x:- ${!x} $(( a= a+=( if then fi for in do done
while case esac f() echo printf %s \\ # ~ * {a,b} {1..9} eval sh -c xargs find -exec {} base64 -d tr python3 -e curl
set -- "$@" read trap alias cd source <( >( git reset --hard unset export awk sed s/a/b/e parallel ::: psql docker run
sudo kill -1 chmod 777 mv cp make -f - ${x//a/b} ${x:1:2} ${#x} ${x[@]} `` $* $9
"""
WORDS = st.sampled_from([*_VOCABULARY.split(), "\n", "\\\n", "\0", "é", "\ud800", "\ue000", "\ue005"])


@pytest.fixture(scope="module")
def bash_for_sh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Surroundings in which `sh` is bash, as on many systems; some disguises are not for others."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "sh").write_text('#!/bin/bash\nexec bash "$@"\n', encoding="utf-8")
    (folder / "sh").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@TRIED
@given(disguised())
@example("! { { rm -rf /; }; }")
@example("bash <<'END'\n\\r\\m -rf /\nEND\n")
@example("s``h$*red /dev/sda")
@example("git clean -fdx << X | cat\nX\n")
@example('"$(case x in x) echo "<<E" ;; esac)"\nrm -rf /\nE')
@example("# harmless \\\nrm -rf /")
@example("x=rm; false && x=echo; $x -rf /")
@example("echo 'rm -rf /' > a; mv a b; sh ./b")
@example("ln -s /bin/rm x; ./x -rf /")
def test_a_disguised_command_is_never_allowed(text: str) -> None:
    assert analyse(text).action is not Action.ALLOW


@TRIED
@given(mentioned())
def test_a_mentioned_command_is_allowed_and_no_rule_blocks_it(text: str) -> None:
    assert analyse(text).action is Action.ALLOW
    assert GUARD.judge(text, Surface.COMMAND).action is not Action.BLOCK


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=real("touch evaded"))
def test_the_disguises_are_real_bash_runs_what_they_hide(bash_for_sh: dict[str, str], text: str) -> None:
    assume(all(shutil.which(tool) or f"{tool} " not in text for tool in ("xxd", "rev", "base64")))
    with tempfile.TemporaryDirectory() as folder:
        run = {"cwd": folder, "env": bash_for_sh, "stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 30}
        subprocess.run(["bash", "-c", text], check=False, **run)
        assert (Path(folder) / "evaded").exists()


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.one_of(
        st.text(max_size=300), st.lists(WORDS, max_size=60).map(" ".join), st.lists(WORDS, max_size=40).map("".join)
    )
)
def test_no_text_whatever_makes_the_analysis_fail(text: str) -> None:
    analysis = analyse(text)
    assert (analysis.action is Action.ALLOW) == (not analysis.findings)
    assert analyse(text) == analysis


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(SEEDS), st.text(st.characters(codec="utf-8"), max_size=40))
def test_a_finding_names_the_command_and_quotes_nothing_of_the_text(command: str, noise: str) -> None:
    secret = "Zq7" + "".join(char for char in noise if char.isalnum())
    for finding in analyse(f"{command} # {secret}\n$({secret})\n{secret} {secret}").findings:
        assert secret not in finding.explanation
        assert finding.explanation.startswith("`")
        assert finding.explanation.endswith(".")
