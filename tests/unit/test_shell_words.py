"""Static evaluation: what a script would print, told without running it."""

from __future__ import annotations

import pytest

from security.shell.analysis import analyse, walked
from security.shell.braces import expand
from security.shell.heredocs import taken_out
from security.shell.limits import MAX_WORDS, TooComplexError
from security.shell.marks import DOCUMENT, HIDDEN, REMOTE, UNKNOWN, UNSET, open_ended, unmarked
from security.shell.places import Place, place
from security.shell.quoting import ansi, joined, undouble, unescape


def printed(script: str) -> str:
    """What the last line of a script prints, as far as the analysis can tell."""
    lead, _, last = script.rpartition("\n")
    walker = walked(lead)
    return walker.script(last)


@pytest.mark.parametrize(
    ("script", "output"),
    [
        ("echo a 'b c' \"d e\" f\\ g", "a b c d e f g"),
        ("echo $'\\x61\\142\\u0063\\t'", "abc\t"),
        ("echo a''b\"\"c", "abc"),
        ("x=1; echo $x ${x} \"$x\" '${x}'", "1 1 1 ${x}"),
        ("x='a b'; echo $x \"$x\"", "a b a b"),
        ("echo ${y:-z} ${y-z} ${y:=w} $y", "z z w w"),
        ("x=abcdef; echo ${x:1:2} ${x:3} ${x: -2} ${#x}", "bc def ef 6"),
        ("x=abcabc; echo ${x/b/-} ${x//b/-} ${x#ab} ${x%bc} ${x^^} ${x^}", "a-cabc a-ca-c cabc abca ABCABC Abcabc"),
        ("y=1; x=y; echo ${!x}", "1"),
        ("x=(a b c); echo ${x[1]} ${x[@]} $x", "b a b c a"),
        ("x=(a b); x+=(c); echo ${x[2]}", "c"),
        ("x=a; x+=b; echo $x", "ab"),
        ("set -- p q r; echo $2 $@; shift; echo $1", "q p q r\nq"),
        ("echo {a,b}{1,2} x{1..3} {c,}", "a1 a2 b1 b2 x1 x2 x3 c"),
        ("echo {a,b{c,d}} '{e,f}' \\{g,h}", "a bc bd {e,f} {g,h}"),
        ("echo a${IFS}b", "a b"),
        ("IFS=:; x=a:b:c; echo $x", "a b c"),
        ("echo $(echo a $(echo b)) `echo c`", "a b c"),
        ("echo `echo \\`echo d\\``", "d"),
        ("echo \"$(echo 'a b')\"", "a b"),
        ("f() { echo $1-$2; }; f a b", "a-b"),
        ("for i in a b; do echo $i; done", "a\nb"),
        ("read a b <<< 'x y z'; echo $b $a", "y z x"),
        ("printf '%s-%s\\n' a b c d", "a-b\nc-d"),
        ("printf -v x '%b' '\\x41'; echo $x", "A"),
        ("echo -n a; echo -e 'b\\tc'", "ab\tc"),
        ("echo YWJj | base64 -d", "abc"),
        ("base64 --decode <<< YWJj", "abc"),
        ("echo YWJj | openssl enc -d -base64", "abc"),
        ("echo MFRGG=== | base32 -d", "abc"),
        ("echo 616263 | xxd -r -p", "abc"),
        ("echo cba | rev", "abc"),
        ("echo nop | tr n-za-m a-z", "abc"),
        ("echo axbxc | tr -d x", "abc"),
        ("cat <(echo a) - <<< b", "a\nb"),
        ("echo a > f; echo b >> ./f; cat f", "a\nb"),
        ("echo a | tee g | cat; cat g", "a\na"),
        ("seq 3", "1\n2\n3"),
        ("A=b cat; A=b; echo $A", f"{UNKNOWN}b"),
    ],
)
def test_a_constant_script_is_evaluated_to_its_end(script: str, output: str) -> None:
    assert printed(script).rstrip("\n") == output


@pytest.mark.parametrize(
    ("script", "mark"),
    [
        ("echo $nobody_set_this", UNSET),
        ("echo $(date)", UNKNOWN),
        ("curl http://h.example/x", REMOTE),
        ("echo $(wget -qO- http://h.example/x)", REMOTE),
        ("curl -s http://h.example/x | grep a | tee f", REMOTE),
        ("base64 -d secret.b64", HIDDEN),
        ("if a; then x=b; else x=c; fi; echo $x", UNKNOWN),
        ("x=b; false && x=c; echo $x", UNKNOWN),
        ("echo $((1 + 2))", UNKNOWN),
        ("x=abc; echo ${x/a*/b}", UNKNOWN),
    ],
)
def test_what_nobody_can_know_is_marked(script: str, mark: str) -> None:
    assert mark in printed(script)


@pytest.mark.parametrize("script", ["(x=b); echo $x", "echo | x=b; echo $x", "y=$(x=b); echo $x"])
def test_what_a_subshell_sets_is_not_set_outside(script: str) -> None:
    assert UNSET in printed(script)


def test_a_source_cannot_bring_marks_of_its_own() -> None:
    assert walked(f"eval {REMOTE}").found
    assert not analyse(f"eval {REMOTE}").findings
    assert not open_ended(unmarked(UNKNOWN + REMOTE + DOCUMENT + "\ud800\0a"))


@pytest.mark.parametrize(
    ("content", "read"), [("a\\ b\\\\", "a b\\"), ("\\r\\m", "rm"), ("a\\\nb", "ab"), ("plain", "plain")]
)
def test_backslashes_outside_of_quotes(content: str, read: str) -> None:
    assert unescape(content) == read


def test_backslashes_inside_of_quotes() -> None:
    assert undouble('a\\"b\\$c\\d\\\\') == 'a"b$c\\d\\'
    assert ansi("\\a\\e\\cA\\'\\q\\x") == "\a\x1b\x01'\\q\\x"
    assert ansi("a\\0b\\ud800\\U00110000") == "ab\ufffd\ufffd"


def test_continued_lines_are_joined_but_not_after_a_real_backslash() -> None:
    assert joined("r\\\nm x") == "rm x"
    assert joined("echo \\\\\nls") == "echo \\\\\nls"


def test_braces_that_are_no_list_stay_and_too_many_words_are_too_complex() -> None:
    assert expand("{}") == ["{}"]
    assert expand("{a") == ["{a"]
    assert expand("{a}") == ["{a}"]
    assert expand("{3..1}{x,y}") == ["3x", "3y", "2x", "2y", "1x", "1y"]
    assert expand(f"{{1..{MAX_WORDS * 9}}}") == ["1", str(MAX_WORDS * 9)]
    with pytest.raises(TooComplexError):
        expand("{a,b}" * 12)
    with pytest.raises(TooComplexError):
        expand("{" * 99)


@pytest.mark.parametrize(
    ("source", "bare", "bodies"),
    [
        ("cat <<A\nx\nA\nls", f"cat < {DOCUMENT}0\nls", ["x\n"]),
        ("cat <<-'A' | sh\n\tx\n\tA\n", f"cat < {DOCUMENT}0 | sh\n", ["\tx\n"]),
        ("cat <<A <<B; ls\na\nA\nb\nB\n", f"cat < {DOCUMENT}0 < {DOCUMENT}1; ls\n", ["a\n", "b\n"]),
        ("cat <<A\nnever ends", f"cat < {DOCUMENT}0\n", ["never ends"]),
        ("cat << \\A\n\\r\\m\nA\n", f"cat < {DOCUMENT}0\n", ["\\r\\m\n"]),
        ("$(cat <<A\nx\nA\n)", f"$(cat < {DOCUMENT}0\n)", ["x\n"]),
        ('echo "$(cat <<A\n"\nA\n)"', f'echo "$(cat < {DOCUMENT}0\n)"', ['"\n']),
    ],
)
def test_here_documents_are_taken_out(source: str, bare: str, bodies: list[str]) -> None:
    text, documents = taken_out(source)
    assert (text, [document.text for document in documents]) == (bare, bodies)


@pytest.mark.parametrize(
    "source",
    [
        "cat <<< A\nls\nA",
        "echo '<<A'\nls\nA",
        'echo "<<A"\nls\nA',
        "echo $((1<<2))\nls\n2",
        "# <<A\nls\nA",
        "echo \\<<A" + "\\<",
        "echo ${x#<<A}\nls\nA",
        "echo $'\\'<<A'\nls\nA",
        "((x = 1 << A))\nls\nA",
    ],
)
def test_what_is_no_here_document_stays(source: str) -> None:
    assert taken_out(source)[0] == source or "\\<" in source


TEMP = "/tmp"  # noqa: S108 - a path that is only read about


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", Place.ROOT),
        ("//", Place.ROOT),
        ("/*", Place.ROOT),
        ("/usr/..", Place.ROOT),
        ("/etc/", Place.ROOT),
        ("/e*", Place.ROOT),
        ("/home/alice", Place.ROOT),
        ("~", Place.ROOT),
        ("~root/*", Place.ROOT),
        ("/var/lib/x", Place.SYSTEM),
        ("/opt/app", Place.SYSTEM),
        ("~/work", Place.HOME),
        ("/home/alice/work", Place.HOME),
        ("~/work/node_modules", Place.CACHE),
        ("/data/set", Place.ABSOLUTE),
        (f"{TEMP}/x", Place.TEMP),
        (f"{TEMP}/../etc", Place.ROOT),
        (f"/var{TEMP}", Place.TEMP),
        (f"{TEMP}x/y", Place.ABSOLUTE),
        (".", Place.HERE),
        ("./*", Place.HERE),
        ("../..", Place.HERE),
        (".??*", Place.HERE),
        ("../x", Place.ABOVE),
        ("build", Place.INSIDE),
        ("./a/../b", Place.INSIDE),
        (".git", Place.REPOSITORY),
        ("a/.git/", Place.REPOSITORY),
        (UNKNOWN, Place.UNKNOWN),
        (f"{TEMP}/{UNKNOWN}", Place.TEMP),
        (f"/{UNKNOWN}", Place.SYSTEM),
        (f"a/{UNKNOWN}", Place.INSIDE),
    ],
)
def test_a_path_leads_to_a_kind_of_place(path: str, kind: Place) -> None:
    assert place(path) is kind


def test_a_path_is_seen_from_its_folder() -> None:
    assert place("*", "/") is Place.ROOT
    assert place("x", TEMP) is Place.TEMP
    assert place("../..", "/usr/lib") is Place.ROOT
    assert place("*", UNKNOWN) is Place.HERE
