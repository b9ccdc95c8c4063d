"""The error tree: drawn as it is, speaking for itself."""

from __future__ import annotations

import inspect
import re

import pytest

from switchtower import errors
from switchtower.errors import EnvelopeRefused, SwitchtowerError

CLASSES = [
    one
    for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, SwitchtowerError) and one.__module__ == errors.__name__
]


def drawn():
    """Each class of the drawing in the module's docstring with its parent."""
    parents, found = [], {}
    for line in (inspect.getdoc(errors) or "").splitlines():
        named = re.match(r"([│├└─\s]*)([A-Z]\w+)(?:\s{2}|$)", line)
        if named:
            depth = len(named[1]) // 4
            parents[depth:] = [named[2]]
            found[named[2]] = parents[depth - 1] if depth else None
    return found


def test_the_drawing_is_the_tree():
    real = {one.__name__: one.__base__.__name__ if one is not SwitchtowerError else None for one in CLASSES}
    assert drawn() == real


@pytest.mark.parametrize("kind", CLASSES)
def test_a_docstring_is_the_default_message(kind):
    assert str(kind()) == kind.__doc__.splitlines()[0]
    assert str(kind("this one")) == "this one"


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_a_docstring_and_a_status_of_its_own(kind):
    assert kind.__doc__ != kind.__base__.__doc__
    assert 400 <= kind.status < 600


def test_what_a_sender_did_wrong_is_the_senders_error():
    refused = [one for one in CLASSES if issubclass(one, EnvelopeRefused)]
    assert len(refused) == 14
    assert all(400 <= one.status < 500 for one in refused)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("GuardrailRefused", 422),
        ("LockdownActive", 503),
        ("OversizedEnvelope", 413),
        ("ForgedEnvelope", 401),
        ("UnknownKey", 401),
        ("WrongRole", 403),
        ("Replayed", 409),
        ("IdempotencyConflict", 409),
        ("JobNotFound", 404),
        ("JobExpired", 504),
        ("JobCancelled", 409),
        ("NoCapableModel", 503),
        ("ConfigurationError", 500),
        ("BrokerUnavailable", 503),
    ],
)
def test_statuses_that_others_rely_on(name, status):
    assert getattr(errors, name).status == status
