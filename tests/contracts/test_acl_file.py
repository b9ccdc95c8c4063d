"""The rights that are laid out for review are those that the code renders."""

from __future__ import annotations

from pathlib import Path

from security.acl.roles import Line
from security.acl.users import acl_file

REFERENCE = Path(__file__).resolve().parents[2] / "ops/acl/users.acl"


def test_the_reference_is_up_to_date():
    assert REFERENCE.read_text() == acl_file(Line(), {}), "run `switchtower acl render > ops/acl/users.acl`"
