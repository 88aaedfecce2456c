"""The store in files: who may look into it, who lives, and what becomes of it when something is in the way."""

from __future__ import annotations

import errno
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import filelock
import pytest

from evertoken.sharing import StoreTrouble
from evertoken_transports.stores import FileStore, _locks
from evertoken_transports.stores._folder import Folder
from tests.kits.worlds import until
from tests.real.nursery import Nursery
from tests.real.stores.places import KEY, OTHER

SOON = 5.0


def put(store: FileStore, expected: bytes | None, value: bytes | None, holder: str = "") -> bool:
    return store.swap(KEY, expected, value, lasts=600, holder=holder, timeout=SOON).done


def load(store: FileStore) -> bytes | None:
    return store.load(KEY, timeout=SOON).value


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(StoreTrouble) as caught:
        act()
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[FileStore]:
    made = FileStore(folder)
    yield made
    made.close()


def data(folder: Path) -> Path:
    return folder / f"1-{KEY}"


def names(folder: Path) -> set[str]:
    return {path.name.removeprefix(f"1-{KEY}") for path in folder.iterdir()}


# ------------------------------------------------------------------------------------------------- who may look into it


def test_to_make_one_touches_nothing_and_to_look_makes_nothing(store: FileStore, folder: Path) -> None:
    assert load(store) is None
    assert not folder.exists()


def test_folder_and_files_are_closed_to_others_whatever_the_umask(store: FileStore, folder: Path) -> None:
    before = os.umask(0)
    try:
        assert put(store, None, b"a", "me")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert names(folder) == {"", ".lock", ".holder-me"}


def test_the_user_s_own_place_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    store = FileStore()
    assert put(store, None, b"a")
    (found,) = tmp_path.rglob(f"1-{KEY}")
    assert found.parent.name == "evertoken"
    assert load(FileStore(found.parent)) == b"a"


def test_where_the_user_has_no_home_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nonexistent/home")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    text = refused(lambda: load(FileStore()))
    assert "HOME is /nonexistent/home" in text
    assert "Give the store a path" in text
    assert not Path("/nonexistent").exists()


def a_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def a_link_for_a_file(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder.parent / "elsewhere").touch(mode=0o600)
    data(folder).symlink_to(folder.parent / "elsewhere")


def a_link_for_the_lock(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder.parent / "elsewhere").touch(mode=0o600)
    Path(f"{data(folder)}.lock").symlink_to(folder.parent / "elsewhere")


def a_folder_for_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


def a_file_for_all(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    data(folder).write_bytes(b"")
    data(folder).chmod(0o644)


def a_pipe(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.mkfifo(data(folder), 0o600)


def a_file_for_a_folder(folder: Path) -> None:
    folder.write_bytes(b"")


def no_folder_that_leads_to_it(folder: Path) -> None:
    folder.symlink_to(folder.parent / "gone" / "store")


@pytest.mark.parametrize(
    ("lay", "says"),
    [
        (a_link, ": it is a symbolic link; links are not followed"),
        (a_link_for_a_file, ": it is a symbolic link; links are not followed"),
        (a_link_for_the_lock, "is a symbolic link"),
        (a_folder_for_all, "chmod 700"),
        (a_file_for_all, "chmod 600"),
        (a_pipe, "is not a file: remove it"),
        (a_file_for_a_folder, "is not a folder: remove it"),
        (no_folder_that_leads_to_it, "is a symbolic link"),
    ],
)
def test_what_others_may_have_laid_is_refused_and_left_as_it_is(
    store: FileStore, folder: Path, lay: Callable[[Path], None], says: str
) -> None:
    lay(folder)
    before = sorted(folder.parent.rglob("*"))
    assert says in refused(lambda: put(store, None, b"a"))
    after = [path for path in sorted(folder.parent.rglob("*")) if not path.name.endswith(".lock")]
    assert after == [path for path in before if not path.name.endswith(".lock")]


def test_what_belongs_to_another_user_is_refused(
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert put(store, None, b"a")
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    text = refused(lambda: load(store))
    assert "belongs to user" in text
    assert "while this runs as user 54321" in text


def test_the_sign_for_the_home_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FileStore("~/tokens") == FileStore(tmp_path / "tokens")


def test_the_folder_that_leads_to_it_is_not_made(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "a" / "b")
    for call in (lambda: put(store, None, b"a"), lambda: load(store)):
        text = refused(call)
        assert "make the folder that it is to be in" in text
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [5, b"store", object()])
def test_what_is_no_path_is_refused_where_it_is_given(path: object) -> None:
    with pytest.raises(TypeError, match="path must be the path of a folder"):
        FileStore(cast("Any", path))
    with pytest.raises(ValueError, match="null character"):
        FileStore("a\0b")


def test_a_pickled_store_is_a_store_of_the_same_folder(store: FileStore) -> None:
    assert put(store, None, b"a")
    assert load(pickle.loads(pickle.dumps(store))) == b"a"


# ----------------------------------------------------------------------------------------------- what stands in the way


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "readable and writable"),
        (errno.EIO, "the disk is failing"),
        (errno.EMFILE, "too many files open"),
        (errno.ENOTBLK, "mend that"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_what_cannot_be_written_is_trouble_and_leaves_everything_as_it_was(  # noqa: PLR0917
    store: FileStore, folder: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, says: str
) -> None:
    assert put(store, None, b"a", "me")
    before = names(folder)

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "")

    if call == "write":  # What os.open gives is written by a raw file.
        monkeypatch.setattr("evertoken_transports.stores._folder.open", fail, raising=False)
    else:
        monkeypatch.setattr(os, call, fail)
    assert says in refused(lambda: put(store, b"a", b"b", "you"))
    monkeypatch.undo()
    assert names(folder) == before
    assert load(FileStore(folder)) == b"a"
    assert put(store, b"a", b"b")


def test_a_child_forked_while_a_lock_is_waited_for_keeps_no_copy_of_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(fd: int, *, blocking: bool) -> bool:
        assert not blocking
        assert fd in _locks._open  # What a forked child closes.
        return True

    monkeypatch.setattr(filelock, "lock_descriptor", taken)
    folder.mkdir(0o700)
    lock = _locks.FileLock.taken(Folder(str(folder)), "a", SOON, make=True)
    assert lock is not None
    lock.free()


def test_a_file_system_without_locks_is_trouble_that_says_so(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "")

    monkeypatch.setattr("filelock.lock_descriptor", fail)
    assert "cannot lock files" in refused(lambda: put(store, None, b"a"))


LIMITED = """
import resource, signal, sys
from evertoken.sharing import StoreTrouble
from evertoken_transports.stores import FileStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
store = FileStore(sys.argv[1])
try:
    store.swap("ab" * 32, b"a", b"b" * 10_000, lasts=600, timeout=5)
except StoreTrouble as trouble:
    print(trouble)
"""


def test_what_is_written_by_half_is_taken_away(store: FileStore, folder: Path) -> None:
    """A limit on the size of files stops a real write in the midst, as a full disk does."""
    assert put(store, None, b"a")
    run = subprocess.run([sys.executable, "-c", LIMITED, str(folder)], capture_output=True, text=True, check=True)
    assert "ulimit -f" in run.stdout
    assert names(folder) == {"", ".lock"}
    assert load(store) == b"a"


def test_what_can_be_read_and_not_written_is_read(store: FileStore, folder: Path) -> None:
    """Mode 500, as a read-only mount; whoever is root may write all the same, and is none here."""
    assert put(store, None, b"a")
    folder.chmod(0o500)
    try:
        assert load(FileStore(folder)) == b"a"
    finally:
        folder.chmod(0o700)


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:-1],
    "a few bytes": lambda content: content[:10],
    "nothing": lambda _: b"",
    "too long": lambda content: content + b"x",
    "not UTF-8": lambda content: b"\xff\xfe" + content,
    "deep": lambda _: b"[" * 100_000,
    "another head": lambda _: b'{"boot": 1}\n',
    "an offset without end": lambda content: content.replace(b'"offset": ', b'"offset": 1e999, "x": '),
    "a holder elsewhere": lambda content: content.replace(b'"holder": "', b'"holder": "../../'),
    "a text for a number": lambda content: content.replace(b'"uptime": ', b'"uptime": "a", "x": '),
    "no number": lambda content: content.replace(b'"until": ', b'"until": NaN, "x": '),
    "null": lambda _: b"null\n",
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_torn_and_foreign_content_is_a_value_that_its_reader_refuses_and_is_replaced(
    store: FileStore, folder: Path, spoil: Callable[[bytes], bytes]
) -> None:
    assert put(store, None, b"good", "me")
    data(folder).write_bytes(spoil(data(folder).read_bytes()))
    found = load(store)
    assert found is not None
    assert found != b"good"
    assert put(store, found, b"new")
    assert load(FileStore(folder)) == b"new"


def test_a_process_that_is_stopped_in_the_midst_of_a_swap_is_named_as_what_it_is(
    store: FileStore, folder: Path
) -> None:
    assert put(store, None, b"a")
    with filelock.FileLock(f"{data(folder)}.lock"):
        text = refused(lambda: store.swap(KEY, b"a", b"b", lasts=600, timeout=0.01))
    assert "another process holds" in text
    assert load(store) == b"a"
    assert put(store, b"a", b"b")


# ------------------------------------------------------------------------------------------------------------ who lives


def holder_lives(store: FileStore) -> bool | None:
    return store.load(KEY, timeout=SOON).holder_lives


def test_whoever_takes_the_lease_lives_until_its_process_dies_and_what_it_leaves_is_swept(
    store: FileStore, folder: Path, nursery: Nursery
) -> None:
    with closing(nursery.born("child", "hold", str(folder), "first")) as first:
        assert first.line() == "holds"
        assert holder_lives(store) is True
        first.pause()
        assert holder_lives(store) is True
        first.kill()
        assert holder_lives(store) is False
    assert put(store, b"leased", b"mine", "second")
    assert holder_lives(store) is True
    assert names(folder) == {"", ".lock", ".holder-second"}


def test_a_child_that_was_forked_in_mid_request_does_not_live_for_its_parent(
    store: FileStore, folder: Path, nursery: Nursery
) -> None:
    with closing(nursery.born("child", "hold_and_fork", str(folder), "first")) as parent:
        assert parent.line() == "True"
        assert holder_lives(store) is True
        parent.kill()
        assert holder_lives(store) is False
        parent.tell()
        assert parent.line() == "False"


def test_swaps_of_others_that_name_no_holder_leave_the_holder_as_it_is(store: FileStore, folder: Path) -> None:
    other = FileStore(folder)
    assert put(store, None, b"a", "me")
    assert put(other, b"a", b"b")
    assert holder_lives(other) is True
    store.close()
    assert holder_lives(other) is False


def test_a_swap_of_its_own_that_names_no_holder_ends_it_and_nobody_is_asked_about(
    store: FileStore, folder: Path
) -> None:
    assert put(store, None, b"a", "me")
    assert put(store, b"a", b"b")
    assert holder_lives(FileStore(folder)) is None
    assert names(folder) == {"", ".lock"}
    assert not store._held


def test_a_new_holder_takes_the_place_of_the_old_one_who_lets_go_of_its_lock(store: FileStore, folder: Path) -> None:
    other = FileStore(folder)
    assert put(store, None, b"a", "me")
    assert put(other, b"a", b"b", "you")
    assert not put(store, b"a", b"c", "me.again")
    assert holder_lives(store) is True
    assert names(folder) == {"", ".lock", ".holder-you"}
    assert not store._held
    other.close()
    assert holder_lives(store) is False


def test_a_store_that_nobody_has_any_more_holds_nothing(store: FileStore, folder: Path) -> None:
    forgotten = FileStore(folder)
    assert put(forgotten, None, b"a", "me")
    del forgotten
    assert holder_lives(store) is False


def test_no_two_swaps_leave_a_descriptor_open(store: FileStore) -> None:
    value: bytes | None = None
    assert put(store, None, b"0", "0")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(1, 20):
        value = b"%d" % number
        assert put(store, b"%d" % (number - 1), value, str(number))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_writers_that_are_killed_at_any_moment_leave_a_whole_value_and_nothing_to_clean_up(
    store: FileStore, folder: Path, nursery: Nursery
) -> None:
    for number in range(3):
        born = [nursery.born("child", "write", str(folder), f"{name}{number}") for name in "vw"]
        with closing(born[0]) as one, closing(born[1]) as other:
            assert one.line() == other.line() == "begins"
            before = load(store)
            until(lambda: load(store) != before)  # noqa: B023 (called here)
            one.kill()
            other.kill()
        found = load(store)
        assert found is not None
        assert found == found[: len(found) // 2_000] * 2_000
        assert put(store, found, b"mine", f"me{number}")
        assert names(folder) == {"", ".lock", f".holder-me{number}"}


def test_what_a_writer_has_left_that_was_killed_before_the_end_is_in_nobody_s_way(
    store: FileStore, folder: Path
) -> None:
    assert put(store, None, b"a")
    Path(f"{data(folder)}.new").write_bytes(b"half")
    assert put(store, b"a", b"b")
    assert names(folder) == {"", ".lock"}


def test_another_key_has_a_holder_of_its_own(store: FileStore, folder: Path) -> None:
    assert put(store, None, b"a", "me")
    assert store.swap(OTHER, None, b"b", lasts=600, holder="you", timeout=SOON).done
    other = FileStore(folder)
    assert holder_lives(other) is True
    assert other.load(OTHER, timeout=SOON).holder_lives is True
