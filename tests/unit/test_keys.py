"""Making keys, and what is said when one is missing or damaged."""

from __future__ import annotations

import pytest

from switchtower import keys
from switchtower.envelope import RING, KeyRing, Role, Signer
from switchtower.errors import ConfigurationError


def test_every_role_but_the_operators_gets_one_key(tmp_path):
    made = keys.create(tmp_path)
    assert len(made) == len(Role) - 1  # an operator is a person
    assert [Signer.load(tmp_path, role).kid for role in Role if role is not Role.OPERATOR] == made


def test_what_is_there_stays(tmp_path):
    first = keys.create(tmp_path, [Role.CLIENT])
    assert keys.create(tmp_path, [Role.CLIENT]) == []
    second = keys.create(tmp_path, [Role.CLIENT, Role.GPU])
    assert len(second) == 1
    assert Signer.load(tmp_path, Role.CLIENT).kid == first[0]


def test_a_missing_key_says_how_to_make_it(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no router key.*switchtower keys create"):
        Signer.load(tmp_path, Role.ROUTER)
    with pytest.raises(ConfigurationError, match="switchtower keys create"):
        KeyRing.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"kid": "x", "seed": "short"}', '{"kid": "x", "seed": "AAAA"}'])
def test_a_damaged_key_is_named(tmp_path, text):
    (tmp_path / "gpu.key").write_text(text)
    with pytest.raises(ConfigurationError, match=r"gpu\.key is not a key file"):
        Signer.load(tmp_path, Role.GPU)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": 1}', '{"keys": [{"kid": "x", "role": "king"}]}'])
def test_a_damaged_ring_is_named(tmp_path, text):
    (tmp_path / RING).write_text(text)
    with pytest.raises(ConfigurationError, match="is not a key ring"):
        KeyRing.load(tmp_path)
