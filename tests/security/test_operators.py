"""The people who may release: made, listed, changed and revoked from the command line."""

from __future__ import annotations

import io
import json
import re
import time

import pyotp
import pytest
import typer
from rich.console import Console

from security.lockdown import throwaway
from security.lockdown.keyfile import Cost, LockedKey
from security.lockdown.operators import known
from security.lockdown.places import controller_folder, keys_folder, operators_folder
from security.prompts import CODE_VARIABLE, PASSWORD_VARIABLE
from switchtower.envelope import KeyRing, Role, Signer
from switchtower.errors import ConfigurationError, ReleaseRefused
from switchtower.messages import Feedback, new_identity, now_ms
from switchtower.settings import load
from tests.support.harness import controlled
from tests.support.person import PASSWORD
from tests.support.site import Site
from workers.staff import expect_operator

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
CHEAP = Cost(memory_kib=8192, passes=1, lanes=1)


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A home of its own, a known secret for the codes, and an authenticator that shows the present one."""
    monkeypatch.setenv("SWITCHTOWER_HOME", str(tmp_path))
    monkeypatch.setenv("SWITCHTOWER_SECURITY__KEYS_DIRECTORY", str(tmp_path / "keys"))
    monkeypatch.setenv("SWITCHTOWER_LOCKDOWN__ARGON2_MEMORY_KIB", "8192")
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setenv(CODE_VARIABLE, pyotp.TOTP(SECRET).now())
    monkeypatch.setattr(pyotp, "random_base32", lambda: SECRET)
    return load()


# -- making ---------------------------------------------------------------------------------------


def test_create_shows_the_qr_code_and_saves_both_halves(switchtower, home):
    run = switchtower("operator", "create", "ada")
    assert run.code == 0, run.err
    assert f"otpauth://totp/Switchtower:ada?secret={SECRET}&issuer=Switchtower" in run.out
    assert sum(line.count("█") + line.count("▀") + line.count("▄") for line in run.out.splitlines()) > 200
    (ada,) = known(operators_folder(home))
    assert (ada.name, ada.secret) == ("ada", SECRET)
    files = [operators_folder(home) / "ada.json", keys_folder(home) / "ada.key"]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
    assert SECRET not in files[1].read_text()
    signer = LockedKey.load(files[1]).unlock(PASSWORD)
    assert KeyRing.load(home.security.keys_directory).key(sealed_by(signer)) == signer.key.public_key()


def sealed_by(signer):
    """An envelope of this key."""
    return signer.seal(Feedback(job=new_identity(), score=0), "switchtower.x", new_identity(), now_ms() + 1000)


def test_the_password_file_wins_over_the_variable(switchtower, home, tmp_path):
    (tmp_path / "password").write_text("another long password\n")
    assert switchtower("operator", "create", "ada", "--password-file", str(tmp_path / "password")).code == 0
    LockedKey.load(keys_folder(home) / "ada.key").unlock("another long password")


def test_a_short_password_is_refused_with_the_length_that_it_takes(switchtower, home, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "short")
    run = switchtower("operator", "create", "ada")
    assert run.code == 1
    assert "has 5 characters; it takes at least 12" in run.err
    assert known(operators_folder(home)) == []


def test_without_a_fitting_code_nobody_is_made(switchtower, home, monkeypatch):
    """Else the operator would learn at the first lockdown that the authenticator was never set up."""
    wrong = next(f"{number:06}" for number in range(9) if f"{number:06}" not in _near_codes())
    monkeypatch.setenv(CODE_VARIABLE, wrong)
    run = switchtower("operator", "create", "ada")
    assert run.code == 1
    assert "no operator was made" in run.err
    assert not (keys_folder(home) / "ada.key").exists()


def _near_codes():
    totp = pyotp.TOTP(SECRET)
    step = totp.timecode(time.time())
    return {totp.generate_otp(step + off) for off in range(-3, 4)}


@pytest.mark.parametrize("code", ["12345", "1234567", "abcdef", "\u0661\u0662\u0663\u0664\u0665\u0666"])
def test_a_code_has_six_digits(switchtower, home, monkeypatch, code):
    monkeypatch.setenv(CODE_VARIABLE, code)
    assert "six digits" in switchtower("operator", "create", "ada").err


@pytest.mark.parametrize("name", ["../eve", "a b", "", "x" * 200])
def test_a_name_that_is_none_is_refused(switchtower, home, name):
    run = switchtower("operator", "create", name)
    assert run.code == 1
    assert run.err.startswith("ConfigurationError: ")


def test_a_name_is_given_once(switchtower, home):
    switchtower("operator", "create", "ada")
    run = switchtower("operator", "create", "ada")
    assert run.code == 1
    assert "already" in run.err


# -- living with them -----------------------------------------------------------------------------


def test_list_and_revoke(switchtower, home):
    switchtower("operator", "create", "ada")
    assert "ada" in switchtower("operator", "list").out
    signer = LockedKey.load(keys_folder(home) / "ada.key").unlock(PASSWORD)
    assert switchtower("operator", "revoke", "ada", "--yes").code == 0
    assert "ada" not in switchtower("operator", "list").out
    assert signer.kid not in (home.security.keys_directory / "ring.json").read_text()
    run = switchtower("operator", "revoke", "ada", "--yes")
    assert (run.code, "no operator 'ada'" in run.err) == (1, True)


def test_change_the_password(switchtower, home, tmp_path):
    switchtower("operator", "create", "ada")
    (tmp_path / "new").write_text("a whole new password")
    assert switchtower("operator", "password", "ada", "--new-password-file", str(tmp_path / "new")).code == 0
    key = LockedKey.load(keys_folder(home) / "ada.key")
    assert key.unlock("a whole new password").kid == key.kid
    run = switchtower("operator", "password", "ada")
    assert (run.code, "does not open the key of ada" in run.err) == (1, True)


def test_a_real_operator_takes_the_throw_away_ones_place(switchtower, home):
    throwaway.Throwaway.create(home)
    assert "throw-away" in switchtower("operator", "list").out
    switchtower("operator", "create", "ada")
    assert [one.name for one in known(operators_folder(home))] == ["ada"]
    assert not throwaway.Throwaway.path(home).exists()


def test_a_damaged_entry_is_named(switchtower, home):
    switchtower("operator", "create", "ada")
    (operators_folder(home) / "ada.json").write_text("{}")
    assert "ada.json is not an operator" in switchtower("operator", "list").err.replace("\n", "")


# -- the key file ---------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["name", "kid", "salt", "nonce", "sealed", "cost"])
def test_a_key_file_that_was_changed_does_not_open(tmp_path, field):
    """Name, key id and cost are bound to what is encrypted: nobody can lower the cost, or lend a key a name."""
    path = LockedKey.lock("ada", Signer.create(Role.OPERATOR), PASSWORD, CHEAP).save(tmp_path / "ada.key")
    said = json.loads(path.read_text())
    other = LockedKey.lock("eve", Signer.create(Role.OPERATOR), PASSWORD, CHEAP.model_copy(update={"passes": 2}))
    said[field] = json.loads(other.model_dump_json())[field]
    path.write_text(json.dumps(said))
    with pytest.raises(ReleaseRefused, match="does not open"):
        LockedKey.load(path).unlock(PASSWORD)


def test_the_password_is_not_guessed_for_less(tmp_path):
    """The second recommended option of RFC 9106, section 4, is the least that the settings give."""
    assert (Cost().passes, Cost().lanes, Cost().memory_kib) == (3, 4, 65_536)
    assert load().lockdown.argon2_memory_kib == 65_536


@pytest.mark.parametrize("text", ["", "{}", "[]"])
def test_a_damaged_key_file_is_named(tmp_path, text):
    (tmp_path / "ada.key").write_text(text)
    with pytest.raises(ConfigurationError, match="not an operator's key"):
        LockedKey.load(tmp_path / "ada.key")
    with pytest.raises(ConfigurationError, match="switchtower operator create"):
        LockedKey.load(tmp_path / "bob.key")


# -- releasing from the terminal ------------------------------------------------------------------


@pytest.fixture
def site(quick_broker_of_module, tmp_path, monkeypatch, home):
    """A line with a controller, and a terminal that finds both."""
    made = Site.on(quick_broker_of_module, tmp_path)
    throwaway.drop(made.settings)
    for path in keys_folder(made.settings).glob("*"):
        path.unlink()
    monkeypatch.setenv("SWITCHTOWER_HOME", str(made.settings.home))
    monkeypatch.delenv("SWITCHTOWER_SECURITY__KEYS_DIRECTORY")
    monkeypatch.setenv("SWITCHTOWER_LOCKDOWN__DIRECTORY", str(controller_folder(made.settings)))
    with controlled(made.settings):
        yield made


def test_release_with_password_and_code(switchtower, site):
    assert switchtower("operator", "create", "ada").code == 0
    assert switchtower("panic", "--reason", "smoke", "--by", "bob").code == 0
    run = switchtower("lockdown", "release", "--reason", "it was toast")
    assert run.code == 0, run.err
    assert "by bob: smoke" in run.out
    assert (site.status.locked, site.status.by, site.status.reason) == (False, "ada", "it was toast")
    assert ("operator-created", "ada") in [(one.outcome, one.actor) for one in site.audited("lockdown")]
    shown = switchtower("lockdown", "status")
    assert (shown.code, "controller: " in shown.out, "ada: released" in shown.out) == (0, True, True)
    assert re.search(r"lease: runs out in [0-5]\.\d s", shown.out)


def test_what_is_refused_is_said_in_one_line(switchtower, site, monkeypatch):
    switchtower("operator", "create", "ada")
    run = switchtower("lockdown", "release")
    assert (run.code, "the line is not locked" in run.err) == (1, True)
    site.lock()
    monkeypatch.setenv(PASSWORD_VARIABLE, "not the password")
    assert "does not open the key of ada" in switchtower("lockdown", "release").err
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    assert "no operator's key at" in switchtower("lockdown", "release", "--operator", "eve").err.replace("\n", " ")
    monkeypatch.setenv(CODE_VARIABLE, next(f"{n:06}" for n in range(9) if f"{n:06}" not in _near_codes()))
    assert "code is wrong" in switchtower("lockdown", "release").err
    assert site.status.locked


def test_several_keys_ask_for_a_name(switchtower, site):
    switchtower("operator", "create", "ada")
    switchtower("operator", "create", "bob")
    site.lock()
    assert "--operator" in switchtower("lockdown", "release").err
    assert switchtower("lockdown", "release", "--operator", "bob").code == 0


def test_status_says_what_anybody_wrote_without_harm(switchtower, site):
    site.redis.eval("return 1", 0)
    assert switchtower("panic", "--reason", "[bold]a\x1b[2Jb", "--by", "[x]").code == 0
    shown = switchtower("lockdown", "status")
    assert shown.code == 1
    assert "by [x]: [bold]a [2Jb" in shown.out
    assert "\x1b[2J" not in shown.out


# -- the first start of an embedded system ----------------------------------------------------------


def first_start(home, *, asks):
    """What `switchtower up` says about operators."""
    console = Console(file=io.StringIO(), width=400)
    expect_operator(home, console, asks=asks)
    return console.file.getvalue()


def test_the_first_start_on_a_terminal_makes_an_operator(home, monkeypatch):
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: True)
    monkeypatch.setattr(typer, "prompt", lambda *_, **__: "ada")
    assert "throw-away" not in first_start(home, asks=True)
    assert [one.name for one in known(operators_folder(home))] == ["ada"]
    assert first_start(home, asks=True) == ""


@pytest.mark.parametrize("asks", [True, False])
def test_otherwise_a_throw_away_operator_is_made_and_said_to_be_one(home, monkeypatch, asks):
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: False)
    for _ in range(2):  # it is said at every start
        assert "A throw-away operator releases lockdowns here" in first_start(home, asks=asks)
    assert [one.name for one in known(operators_folder(home))] == [throwaway.NAME]
