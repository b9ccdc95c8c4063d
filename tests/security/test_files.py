"""Models' files: what is opened is what was decided on, whatever stands or is put in its place."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings

from switchtower.errors import ConfigurationError, PathEscapes, PermissionRefused
from switchtower.messages import PermissionDecision, new_identity, now_ms
from switchtower.settings import Settings
from tests.security.test_permissions_paths import spellings
from workers import files
from workers.files import FOLDERS, Files, kernel_opener, walking_opener

SECRET = b"the host's own"
LIMIT = 1000


@pytest.fixture(params=[kernel_opener, walking_opener], ids=["openat2", "openat"])
def place(request, tmp_path):
    """A tenant's files in a folder beside a secret, opened in either way."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(SECRET)
    with Files(tmp_path / "root", "acme", LIMIT, request.param) as found:
        found.path = tmp_path / "root" / "acme"
        found.outside = tmp_path / "outside"
        yield found


def decided(action, resource, **changes):
    """A yes to this very path."""
    known = {"job": new_identity(), "request": new_identity(), "granted": True, "reason": "", "tenant": "acme"}
    fields = {"action": action, "resource": resource, "expires": now_ms() + 60_000}
    return PermissionDecision.model_validate(known | fields | changes)


def read(place, resource):
    return place.read(decided("file_read", resource))


def write(place, resource, data=b"new"):
    place.write(decided("file_write", resource), data)


def everything(folder):
    """Every name beneath a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# -- plain use ------------------------------------------------------------------------------------


def test_a_new_tenant_has_its_folders(place):
    assert all((place.path / folder).is_dir() for folder in FOLDERS)


def test_what_is_written_is_read(place):
    write(place, "downloads/reports/may/Grüße.txt", b"all is well")
    assert read(place, "downloads/reports/may/Grüße.txt") == b"all is well"
    assert stat.S_IMODE((place.path / "downloads/reports/may/Grüße.txt").stat().st_mode) & 0o111 == 0


def test_a_file_is_replaced_whole_and_leaves_nothing_behind(place):
    write(place, "downloads/a", b"long old text")
    before = (place.path / "downloads/a").stat().st_ino
    write(place, "downloads/a", b"new")
    assert read(place, "downloads/a") == b"new"
    assert (place.path / "downloads/a").stat().st_ino != before
    assert everything(place.path / "downloads") == ["a"]


def test_a_file_beneath_the_root_itself(place):
    write(place, "notes", b"x")
    assert read(place, "notes") == b"x"


def test_tenants_do_not_see_each_other(tmp_path):
    with Files(tmp_path, "acme", LIMIT) as ours, Files(tmp_path, "a/../../x", LIMIT) as odd:
        write(ours, "downloads/a")
        with pytest.raises(FileNotFoundError):
            odd.read(decided("file_read", "downloads/a", tenant="a/../../x"))
    assert sorted(os.listdir(tmp_path)) == ["a%2F..%2F..%2Fx", "acme"]


def test_the_settings_say_where(tmp_path):
    config = Settings(home=tmp_path)
    with Files.of(config, "acme") as found:
        write(found, "downloads/a")
    assert (tmp_path / "files/acme/downloads/a").read_bytes() == b"new"


def test_a_root_that_is_no_folder_is_a_wrong_setting(tmp_path):
    (tmp_path / "root").write_text("a file")
    with pytest.raises(ConfigurationError, match="cannot be kept here"):
        Files(tmp_path / "root", "acme", LIMIT)


@pytest.mark.parametrize("link", ["acme", "acme/uploads", "acme/rag"])
@pytest.mark.parametrize("opener", [kernel_opener, walking_opener])
def test_a_link_in_the_place_of_a_tenants_folder_is_refused(tmp_path, link, opener):
    path = tmp_path / "root" / link
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigurationError, match="cannot be kept here"):
        Files(tmp_path / "root", "acme", LIMIT, opener)
    assert len(os.listdir("/proc/self/fd")) == before
    assert sorted(os.listdir(tmp_path)) == ["root"]


def test_no_descriptor_is_left_open(place):
    def count():
        return len(os.listdir("/proc/self/fd"))

    (place.path / "uploads/link").symlink_to("/")
    before = count()
    write(place, "downloads/a/b")
    for resource in ("downloads/a/b", "downloads/no", "uploads/link/etc/passwd", "downloads/a"):
        try:
            read(place, resource)
        except (OSError, PathEscapes, PermissionRefused):
            continue
    with pytest.raises(NotADirectoryError):
        write(place, "downloads/a/b/c")
    assert count() == before


# -- only what was decided ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"granted": False},
        {"granted": False, "question": new_identity()},
        {"action": "file_write"},
        {"action": None},
        {"tenant": "other"},
        {"expires": 1},
        {"expires": None},
        {"resource": ""},
        {"resource": "uploads/a\0"},
    ],
)
def test_a_decision_that_does_not_permit_it_opens_nothing(place, changes):
    (place.path / "uploads/a").write_bytes(b"x")
    with pytest.raises(PermissionRefused):
        place.read(decided("file_read", "uploads/a").model_copy(update=changes))


@pytest.mark.parametrize("resource", ["../outside/secret", "/uploads/a", "uploads/", "uploads/./a", "uploads/../x"])
def test_a_path_that_is_not_canonical_opens_nothing(place, resource):
    with pytest.raises(PathEscapes):
        read(place, resource)
    with pytest.raises(PathEscapes):
        write(place, resource)


def test_what_is_not_there_is_named_beneath_the_root_only(place):
    with pytest.raises(FileNotFoundError) as missing:
        read(place, "uploads/missing/x")
    assert str(place.path.parent) not in str(missing.value)


@given(said=spellings)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_no_spelling_reaches_the_secret(place, said):
    """Even where a decision holds a path that nobody has made canonical."""
    (place.path / "etc").mkdir(exist_ok=True)
    (place.path / "etc/passwd").write_bytes(b"inside")
    try:
        found = read(place, said or ".")
    except (OSError, PathEscapes, PermissionRefused):
        return
    assert found == b"inside"


@given(said=spellings)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_the_kernels_way_does_not_leave_the_root_by_dots_either(tmp_path, said):
    """Past every check of the path: it fails, or stays inside."""
    (tmp_path / "uploads/etc").mkdir(exist_ok=True, parents=True)
    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        found = kernel_opener(root, said or ".", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            pytest.skip("the kernel is older than openat2")
        return
    finally:
        os.close(root)
    opened = os.readlink(f"/proc/self/fd/{found}")
    os.close(found)
    assert opened == str(tmp_path) or opened.startswith(f"{tmp_path}/")


# -- links, pipes, devices ------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["absolute", "relative", "inside", "dangling", "magic"])
def test_a_link_is_never_followed(place, target):
    targets = {
        "absolute": place.outside / "secret",
        "relative": "../../../outside/secret",
        "inside": "b",
        "dangling": "nowhere",
        "magic": "/proc/self/root/etc/passwd",
    }
    (place.path / "uploads/b").write_bytes(b"inside")
    (place.path / "uploads/a").symlink_to(targets[target])
    with pytest.raises(PathEscapes):
        read(place, "uploads/a")
    with pytest.raises(PathEscapes):
        write(place, "uploads/a")
    assert (place.outside / "secret").read_bytes() == SECRET
    assert (place.path / "uploads/a").is_symlink()


def test_a_link_on_the_way_is_never_followed(place):
    (place.path / "uploads/folder").symlink_to(place.outside)
    with pytest.raises(PathEscapes):
        read(place, "uploads/folder/secret")
    for resource in ("uploads/folder/new", "uploads/folder/deep/new"):
        with pytest.raises(PathEscapes):
            write(place, resource)
    assert everything(place.outside) == ["secret"]


def test_a_second_name_of_a_file_is_refused(place):
    os.link(place.outside / "secret", place.path / "uploads/a")
    with pytest.raises(PermissionRefused, match="2 hard links"):
        read(place, "uploads/a")
    with pytest.raises(PermissionRefused, match="2 hard links"):
        write(place, "uploads/a")
    assert (place.outside / "secret").read_bytes() == SECRET


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder"])
def test_what_is_no_plain_file_is_refused_and_does_not_hang(place, kind, monkeypatch):
    monkeypatch.chdir(place.path)  # a socket's path is short
    if kind == "pipe":
        os.mkfifo("uploads/a")
    elif kind == "folder":
        os.mkdir("uploads/a")
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("uploads/a")
    with pytest.raises(PermissionRefused, match="not a plain file"):
        read(place, "uploads/a")
    with pytest.raises(PermissionRefused, match="not a plain file"):
        write(place, "uploads/a")


def test_a_device_is_refused(place):
    try:
        os.mknod(place.path / "uploads/zero", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root may make devices")
    with pytest.raises(PermissionRefused, match="not a plain file"):
        read(place, "uploads/zero")


# -- sizes and failures ---------------------------------------------------------------------------


def test_what_is_too_large_is_refused(place):
    (place.path / "uploads/a").write_bytes(b"x" * LIMIT)
    assert len(read(place, "uploads/a")) == LIMIT
    (place.path / "uploads/a").write_bytes(b"x" * (LIMIT + 1))
    with pytest.raises(PermissionRefused, match="larger than 1000 bytes"):
        read(place, "uploads/a")
    write(place, "downloads/a", b"x" * LIMIT)
    with pytest.raises(PermissionRefused, match="larger than 1000 bytes"):
        write(place, "downloads/a", b"x" * (LIMIT + 1))
    assert len(read(place, "downloads/a")) == LIMIT


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(place, monkeypatch):
    write(place, "downloads/a", b"old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(place, "downloads/a", b"new")
    assert read(place, "downloads/a") == b"old"
    assert everything(place.path / "downloads") == ["a"]


def test_the_kernels_way_is_taken_where_it_works(monkeypatch):
    monkeypatch.setattr(files, "kernel_opener", walking_opener)
    files.best_opener.cache_clear()
    assert files.best_opener() is files.kernel_opener
    files.best_opener.cache_clear()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_where_the_kernel_refuses_the_call_the_folders_are_walked(monkeypatch, code):
    def missing(*_):
        raise OSError(code, os.strerror(code))

    files.best_opener.cache_clear()
    monkeypatch.setattr(files, "kernel_opener", missing)
    assert files.best_opener() is walking_opener
    files.best_opener.cache_clear()


# -- races ----------------------------------------------------------------------------------------

RACE_S = 0.7


def exchange(one, other):
    """Swap two names in one step (renameat2 with RENAME_EXCHANGE)."""
    if ctypes.CDLL(None, use_errno=True).renameat2(-100, bytes(one), -100, bytes(other), 2):
        raise OSError(ctypes.get_errno(), "renameat2")


def raced(attempt, one, other):
    """What the attempts gave while two names were swapped all the time, and which errors came."""
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            exchange(one, other)

    thread = threading.Thread(target=swap)
    thread.start()
    found, errors, end = [], set(), time.monotonic() + RACE_S
    try:
        while time.monotonic() < end or not (found and errors):
            try:
                found.append(attempt())
            except (OSError, PathEscapes, PermissionRefused) as error:
                errors.add(type(error))
            assert time.monotonic() < end + 10, f"nothing was raced: {len(found)} found, {errors}"
    finally:
        stop.set()
        thread.join()
    return found, errors


def test_a_link_that_is_swapped_in_is_never_read_through(place):
    path, link = place.path / "uploads/a", place.path / "link"
    path.write_bytes(b"inside")
    link.symlink_to(place.outside / "secret")
    found, errors = raced(lambda: read(place, "uploads/a"), path, link)
    assert set(found) == {b"inside"}
    assert errors == {PathEscapes}


def test_a_folder_that_is_swapped_for_a_link_is_never_read_or_written_through(place):
    path, link = place.path / "downloads/f", place.path / "link"
    path.mkdir()
    link.symlink_to(place.outside)

    def attempt():
        write(place, "downloads/f/secret", b"inside")
        return read(place, "downloads/f/secret")

    found, errors = raced(attempt, path, link)
    assert set(found) == {b"inside"}
    assert PathEscapes in errors
    assert errors <= {PathEscapes, NotADirectoryError}
    assert (place.outside / "secret").read_bytes() == SECRET
    assert everything(place.outside) == ["secret"]
