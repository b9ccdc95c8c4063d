"""Policies: what the built-in ones say, that a forbid always wins, and that nothing broken is ever in force."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.permissions.cases import Case
from security.permissions.engine import BUILT_IN, SCHEMA, PolicyPack
from security.permissions.grants import supposed
from security.permissions.judgement import judge
from security.permissions.rehearsal import rehearse
from security.permissions.resources import Uid, resolve
from switchtower.errors import PermissionRefused, PolicyError
from switchtower.messages import Permitted, new_identity
from switchtower.models import Capability
from tests.support.permits import OVERRIDE, asking, case, groups, policy

PACK = PolicyPack.load()
ACTIONS = Permitted.__args__
EVERYTHING = '@id("all")@explanation("All may do all.") permit (principal, action, resource);'
RESOURCES = {
    "file_read": ["uploads/a", "downloads/b/c", "rag/metadata/x", "etc/passwd"],
    "file_write": ["uploads/a", "downloads/b/c", "uploads/.versions/1", "etc/passwd"],
    "search": ["handbook", "handbook@other"],
    "execute": ["bwrap", "vm"],
    "delegate": ["code", "cloud", "nobody"],
}
asks = st.sampled_from([(action, resource) for action, some in RESOURCES.items() for resource in some])
models = st.sampled_from(["local", "writer", "cloud", "stranger"])


def answer(pack, one):
    return judge(pack, one, grants=lambda _: (), use=lambda _: True).answer


def load(folder, text):
    return PolicyPack.load([policy(folder, text)])


# -- what the built-in policies say -------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "resource", "model", "clean", "tainted"),
    [
        ("file_read", "uploads/a.txt", "local", "granted", "granted"),
        ("file_read", "/downloads/a.txt", "writer", "granted", "granted"),
        ("file_read", "uploads/a.txt", "cloud", "asked", "asked"),
        ("file_read", "rag/metadata/a", "local", "asked", "asked"),
        ("file_read", "uploads/../etc/passwd", "cloud", "asked", "asked"),
        ("file_write", "downloads/a.txt", "local", "granted", "asked"),
        ("file_write", "downloads/a.txt", "cloud", "granted", "asked"),
        ("file_write", "uploads/a.txt", "local", "asked", "asked"),
        ("file_write", "uploads/.versions/a.txt", "local", "denied", "denied"),
        ("file_write", "rag/metadata/a", "local", "denied", "denied"),
        ("file_write", "downloadsx/a", "local", "denied", "denied"),
        ("file_write", "etc/passwd", "local", "denied", "denied"),
        ("search", "handbook", "local", "granted", "granted"),
        ("search", "handbook@default", "local", "granted", "granted"),
        ("search", "handbook", "cloud", "asked", "asked"),
        ("search", "handbook@other", "local", "denied", "denied"),
        ("execute", "bwrap", "local", "asked", "asked"),
        ("delegate", "code", "local", "granted", "asked"),
        ("delegate", "cloud", "local", "granted", "asked"),
        ("delegate", "stranger", "local", "denied", "denied"),
    ],
)
def test_the_built_in_answers(action, resource, model, clean, tainted):
    assert answer(PACK, case(action, resource, model)) == clean
    assert answer(PACK, case(action, resource, model, tainted=True)) == tainted


@given(asks)
def test_a_model_that_nobody_knows_may_do_nothing(ask):
    assert answer(PACK, case(*ask, "stranger")) == "denied"


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_that_can_be_asked_for_is_in_the_schema(action):
    one = case(action, RESOURCES[action][0])
    assert not PACK.rule(one).errors
    assert not PACK.rule(one, supposed(one)).errors


def test_the_schema_knows_every_capability():
    for one in Capability:
        assert not PACK.rule(case("delegate", one)).errors


def changed(one, **fields):
    """The case with other facts, past all checks."""
    return Case(**{**vars(one), **fields})


@given(st.text().filter(lambda said: said not in ACTIONS))
def test_an_unknown_action_is_denied_wherever_it_comes_from(action):
    with pytest.raises(PermissionRefused, match="no policy knows"):
        resolve(action, "x", "default", groups)
    ruling = PACK.rule(changed(case("file_read", "uploads/a"), action=action))
    assert not ruling.allowed
    assert ruling.errors
    assert ruling.reason == "the policies could not be evaluated"


@given(st.text(), asks)
def test_any_name_of_a_model_without_a_card_is_denied(name, ask):
    one = changed(case(*ask, "stranger", tainted=False), model=name)
    assert not PACK.rule(one).allowed
    assert not PACK.rule(one, supposed(changed(one, model="stranger"))).allowed


def test_an_action_with_another_actions_resource_is_denied():
    odd = case("file_read", "uploads/a")
    assert PACK.rule(changed(odd, action="search")).errors


@given(models, st.booleans())
def test_no_policy_lets_a_dotted_path_through(model, tainted):
    found = rehearse(PACK, asking("file_read", "/downloads/../../etc/passwd", model, tainted=tainted), groups)
    assert not found.granted
    assert found.reason == "the path leads out of the root"


def test_a_decision_says_which_policies_decided_and_why():
    found = rehearse(PACK, asking("file_write", "downloads/a.txt"), groups)
    assert found.granted
    assert found.policies == ("models-write-downloads",)
    assert found.reason == "permitted by models-write-downloads: Models write their results into downloads."
    assert found.version == PACK.version
    assert found.resource == "downloads/a.txt"
    assert rehearse(PACK, asking("file_write", "etc/passwd"), groups).reason == "no policy permits it"
    assert rehearse(PACK, asking("file_write", "uploads/.versions/1"), groups).policies == ("versions-stay",)


# -- a forbid wins --------------------------------------------------------------------------------


@given(asks, models, st.booleans(), st.booleans())
def test_a_forbid_outweighs_every_permit_and_every_grant(tmp_path_factory, ask, model, tainted, agreed):
    action = ask[0]
    forbid = (
        f'@id("no")@explanation("No.") forbid (principal == Model::"{model}", action == Action::"{action}", resource);'
    )
    pack = load(tmp_path_factory.mktemp("policies"), EVERYTHING + forbid)
    one = case(*ask, model, tainted=tainted)
    assert not pack.rule(one, supposed(one) if agreed else None).allowed
    assert answer(pack, one) == "denied"


def test_a_model_of_its_own_rules(tmp_path):
    pack = load(tmp_path, OVERRIDE)
    assert answer(pack, case("file_write", "downloads/a", "writer")) == "denied"
    assert answer(pack, case("file_write", "downloads/a", "local")) == "granted"


@given(asks, models)
def test_no_permit_switches_the_taint_rule_off(tmp_path_factory, ask, model):
    pack = load(tmp_path_factory.mktemp("policies"), EVERYTHING)
    one = case(*ask, model, tainted=True)
    if ask[0] not in ("file_read", "search"):
        assert not pack.rule(one).allowed
        assert answer(pack, one) in ("asked", "denied")
    elif pack.rule(one).allowed:
        public = any(
            uid in {Uid("Path", "uploads"), Uid("Path", "downloads"), Uid("Tenant", "default")}
            for entity in one.resource.entities
            for uid in (entity.uid, *entity.parents)
        )
        assert public


@pytest.mark.parametrize(
    "odd",
    [{"model": "cloud"}, {"tenant": "other"}, {"bound": new_identity()}, {"expires": 1}, {"bound": None}],
)
def test_a_grant_that_does_not_fit_forbids_even_what_is_permitted(tmp_path, odd):
    pack = load(tmp_path, EVERYTHING)
    one = case("file_write", "downloads/a", tainted=True)
    assert pack.rule(one, supposed(one)).allowed
    assert not pack.rule(one, supposed(one).model_copy(update=odd)).allowed


def test_a_policy_may_look_at_the_clock(tmp_path):
    nights = """@id("not-at-night")@explanation("At night nothing is written.")
    forbid (principal, action == Action::"file_write", resource)
    when { context.now.toTime() < duration("6h") };"""
    pack = load(tmp_path, nights)
    one = case("file_write", "downloads/a")
    day, hour = 86_400_000, 3_600_000
    for at, allowed in ((5 * hour + 3_599_999, False), (6 * hour, True), (23 * hour, True)):
        assert pack.rule(changed(one, now=20_000 * day + at)).allowed is allowed


# -- what goes wrong denies ---------------------------------------------------------------------


def test_a_policy_that_fails_permits_nothing(tmp_path, caplog):
    """Cedar leaves a failing forbid out; what it would have forbidden must not pass."""
    overflow = """@id("broken")@explanation("It overflows.")
    forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };"""
    pack = load(tmp_path, overflow)
    ruling = pack.rule(case("file_read", "uploads/secret.txt"))
    assert not ruling.allowed
    assert "overflow" in ruling.errors[0]
    assert "secret" not in caplog.text
    assert "denied" in caplog.text


def test_a_group_that_no_schema_knows_permits_nothing():
    one = case("file_read", "uploads/a")
    ruling = PACK.rule(changed(one, groups=frozenset({"known", "local", "royal"})))
    assert not ruling.allowed
    assert ruling.errors


# -- loading --------------------------------------------------------------------------------------

HEAD = '// a comment; with a semicolon and "a quote\n\n@id("x")\n@explanation("Why.")\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + 'permit (principal, action == Action::"file_reed", resource);', r":3: policy `x`: .*file_reed"),
        (HEAD + "permit (principal, action resource);", r"own.cedar:3: unexpected token `resource`"),
        (HEAD + "permit (principal, action, resource)", r"own.cedar:3: unexpected end of input"),
        (HEAD + 'permit (principal in Group::"lokal", action, resource);', r"own.cedar:3: .*lokal"),
        (HEAD + 'permit (principal, action, resource) when { context.mood == "good" };', r"own.cedar:3: .*mood"),
        (HEAD + 'permit (principal, action, resource) when { resource like "uploads*" };', r"own.cedar:3: .*String"),
        (HEAD + "permit (principal == ?principal, action, resource);", r"own.cedar:3: a template"),
        (HEAD + 'forbid (principal, action, resource in Path::"/uploads/");', r'write Path::"uploads", not'),
        (HEAD + 'forbid (principal, action, resource in Path::"../x");', r"own.cedar:3: .*leads out"),
        (HEAD + 'forbid (principal, action, resource == Scope::"handbook");', r"own.cedar:3: .*handbook@acme"),
        (HEAD + 'forbid (principal == Model::"two words", action, resource);', r"not the name of a model"),
        ('\n@explanation("Why.")\npermit (principal, action, resource);', r"own.cedar:2: the policy needs a name"),
        ('@id("bad name")@explanation("Why.") permit (principal, action, resource);', r":1: the policy needs a name"),
        ('@id("x") permit (principal, action, resource);', r"own.cedar:1: policy `x` needs an @explanation"),
        ("// nothing but a comment\n", r"own.cedar: no policy"),
        ("", r"own.cedar: no policy"),
        ('@id("tainted-act")@explanation("W.") permit (principal, action, resource);', r":1: .*already .*limits.ced"),
        (EVERYTHING + "\n" + EVERYTHING, r"own.cedar:2: policy `all` is already defined at .*own.cedar:1"),
        (EVERYTHING + "\n\n;", r"own.cedar:3: unexpected"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_with_line_and_reason(tmp_path, text, said):
    with pytest.raises(PolicyError, match=said):
        load(tmp_path, text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(PolicyError, match=r"missing\.cedar: cannot be read: No such file"):
        PolicyPack.load([tmp_path / "missing.cedar"])
    (tmp_path / "odd.cedar").write_bytes(b"// fine\n\xff")
    with pytest.raises(PolicyError, match=r"odd\.cedar:2: not UTF-8"):
        PolicyPack.load([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(PolicyError, match=r"no `\*\.cedar` in this folder"):
        PolicyPack.load([tmp_path / "empty"])


def test_strings_and_comments_do_not_end_a_policy(tmp_path):
    text = (
        EVERYTHING
        + """
    @id("odd;name")// a comment; "here
    @explanation("It says \\"stop; now\\" // and goes on.") forbid (principal, action, resource);"""
    )
    with pytest.raises(PolicyError, match=r"own\.cedar:2: the policy needs a name"):
        load(tmp_path, text)
    pack = load(tmp_path, text.replace("odd;name", "odd"))
    assert pack.policies["odd"].explanation == 'It says "stop; now" // and goes on.'
    assert pack.policies["odd"].place.endswith("own.cedar:2")


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    policy(tmp_path, EVERYTHING, "b.cedar")
    policy(tmp_path, OVERRIDE, "a.cedar")
    policy(tmp_path, "no policy at all", "notes.txt")
    assert list(PolicyPack.load([tmp_path]).policies)[-2:] == ["writer-stays-out", "all"]


def test_the_version_is_of_what_the_policies_say(tmp_path):
    first = load(tmp_path, EVERYTHING + OVERRIDE).version
    assert load(tmp_path, OVERRIDE + "// a remark\n\n" + EVERYTHING).version == first
    assert load(tmp_path, EVERYTHING + OVERRIDE.replace("file_write", "file_read")).version != first
    assert load(tmp_path, EVERYTHING).version != PACK.version
    assert PolicyPack.load().version == PACK.version


def test_the_shipped_policies_are_all_there():
    assert {path.name for path in BUILT_IN.iterdir()} == {"defaults.cedar", "limits.cedar"}
    assert SCHEMA.is_file()
    assert len(PACK.policies) == 15


# -- the manual -----------------------------------------------------------------------------------

MANUAL = Path(__file__).parents[2] / "docs/permissions.md"


def test_the_manuals_policies_are_sound_and_do_what_it_says(tmp_path):
    (text,) = re.findall(r"^```cedar\n(.*?)^```$", MANUAL.read_text(), re.MULTILINE | re.DOTALL)
    pack = load(tmp_path, text)
    assert answer(pack, case("file_write", "downloads/articles/a", "writer")) == "granted"
    assert answer(pack, case("file_write", "downloads/a", "writer")) == "denied"
    assert answer(pack, case("search", "handbook", "cloud", tenant="acme")) == "granted"
    assert answer(pack, case("search", "handbook", "cloud")) == "asked"


def test_the_manuals_table_is_what_the_policies_say():
    """The table of what is permitted out of the box, row by row: local, cloud and, where it differs, tainted."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \| (.*) \| (.*) \|$", MANUAL.read_text(), re.MULTILINE)
    examples = ["uploads/a", "rag/metadata/a", "downloads/a", "uploads/a", "handbook", "vm", "code"]
    words = {"granted": "yes", "asked": "a human is asked"}
    assert len(rows) == len(examples)
    for (action, *said), resource in zip(rows, examples, strict=True):
        clean = [words[answer(PACK, case(action, resource, model))] for model in ("local", "cloud")]
        tainted = {words[answer(PACK, case(action, resource, model, tainted=True))] for model in ("local", "cloud")}
        assert said[:2] == clean, (action, resource)
        assert (said[2] == "the same" and tainted == set(clean)) or tainted == {said[2]}, (action, resource)
