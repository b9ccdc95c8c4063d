"""Canonical paths: every spelling becomes one, and none leads out."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from security.permissions.paths import MAX_DEPTH, ROOT, canonical, lineage
from switchtower.errors import PathEscapes, PermissionRefused

PIECES = ["..", ".", "", "/", "uploads", "downloads", "a b", "ä", "etc", "passwd", "...", "..a", "a..", "%2e%2e", "~"]
spellings = st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("/".join)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("downloads/report.txt", "downloads/report.txt"),
        ("/downloads/report.txt", "downloads/report.txt"),
        ("//downloads///report.txt", "downloads/report.txt"),
        ("./downloads/./report.txt/", "downloads/report.txt"),
        ("uploads/../downloads/report.txt", "downloads/report.txt"),
        ("/etc/passwd", "etc/passwd"),
        ("downloads/...", "downloads/..."),
        ("downloads/%2e%2e/x", "downloads/%2e%2e/x"),
        ("~/x", "~/x"),
        ("downloads/Grüße 日本.txt", "downloads/Grüße 日本.txt"),
    ],
)
def test_every_spelling_has_one_form(said, meant):
    assert canonical(said) == meant


@pytest.mark.parametrize("said", ["..", "../x", "/..", "/downloads/../../etc/passwd", "a/../../b", "./../x"])
def test_what_leads_out_is_refused(said):
    with pytest.raises(PathEscapes):
        canonical(said)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "/",
        ".",
        "a/..",
        "a\0b",
        "a\nb",
        "a\x1b[2Jb",
        "a\x85b",
        "a\u2028b",
        "invoice\u202efdp.exe",
        "a\ud800b",
        "..\\..\\windows",
        "x" * 256,
        "ä" * 128,
        "a/" * 2100 + "a",
        "a/" * MAX_DEPTH + "a",
    ],
)
def test_what_is_no_name_of_a_file_is_refused(said):
    with pytest.raises(PermissionRefused):
        canonical(said)


def test_the_longest_names_are_taken():
    assert canonical("x" * 255) == "x" * 255
    assert canonical("/".join(["a"] * MAX_DEPTH)).count("/") == MAX_DEPTH - 1


@given(spellings | st.text(max_size=60))
def test_a_canonical_path_stays_beneath_the_root_and_canonical(said):
    try:
        found = canonical(said)
    except (PathEscapes, PermissionRefused):
        return
    parts = found.split("/")
    assert not {"", ".", ".."} & set(parts)
    assert canonical(found) == found
    assert posixpath.normpath("/root/" + found) == "/root/" + found


@given(spellings)
def test_it_means_what_the_kernel_would_make_of_it_without_links(said):
    resolved = posixpath.normpath("/r/o/o/t/" + said)
    try:
        found = canonical(said)
    except PathEscapes:
        return
    except PermissionRefused:
        assert resolved == "/r/o/o/t"
        return
    assert "/r/o/o/t/" + found == resolved


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6).map("/".join))
def test_the_lineage_ends_at_the_root(path):
    chain = lineage(path)
    assert chain[0] == path
    assert chain[-1] == ROOT
    assert len(chain) == path.count("/") + 2
    assert all(path.startswith(f"{above}/") for above in chain[1:-1])
