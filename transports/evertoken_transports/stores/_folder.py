"""A folder that only its owner can look into, and files in it that nobody else has put there.

Every refusal says what it found, and how to mend it. Nothing is mended here: a folder that others could write into may
hold what others have written.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from evertoken.sharing._store import StoreTrouble

_ADVICE = {
    "EACCES": "make it readable and writable for the user that runs this, or give the store a folder of its own",
    "EDQUOT": "this user's quota is used up: remove something",
    "EFBIG": "the limit on the size of files is too low (ulimit -f)",
    "EIO": "the disk is failing, or the network file system is not to be reached",
    "ELOOP": "links are not followed, since others may have laid them: remove it, or give the store where it leads",
    "EMFILE": "this process has too many files open (ulimit -n)",
    "ENAMETOOLONG": "give the store a shorter path",
    "ENFILE": "this host has too many files open",
    "ENOENT": "make the folder that it is to be in, or give the store another path",
    "ENOLCK": "this file system cannot lock files, as some network file systems cannot: use a folder on a local disk",
    "ENOSPC": "the disk is full: remove something",
    "ENOTDIR": "something on the way to it is no folder: give the store another path",
    "EPERM": "make it readable and writable for the user that runs this, or give the store a folder of its own",
    "EROFS": "the file system is read-only: give the store a folder that can be written",
    "ESTALE": "the network file system has lost it: mount it again",
}
_NO_LOCKS = dict.fromkeys(("ENOSYS", "ENOTSUP", "EOPNOTSUPP"), _ADVICE["ENOLCK"])
_BY_NUMBER = {getattr(errno, name, 0): advice for name, advice in (_ADVICE | _NO_LOCKS).items()}

_FLAGS = sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY", "O_NOINHERIT"))
"""Flags for every file: no link is followed, a pipe in its place does not block, and no other program inherits it."""


class Folder:
    """The folder at ``path``; if that is None, the one in which this user's programs keep their state.

    Where nothing else is said, methods raise OSError: call them within :meth:`trouble`.
    """

    def __init__(self, path: str | None) -> None:
        self._given = path
        self._path = path

    @property
    def path(self) -> str:
        """The path of the folder. Raises :class:`StoreTrouble` if there is no place for one."""
        if self._path is None:
            self._path = _default_place()
        return self._path

    @contextmanager
    def trouble(self, doing: str) -> Generator[None]:
        """Turn an OSError into a :class:`StoreTrouble` that says what the store could not do, and how to mend it.

        ``doing`` completes "the shared file store could not ...", as in "be read".
        """
        try:
            yield
        except OSError as error:
            what, name = os.strerror(error.errno) if error.errno else str(error), error.filename or self._path
            if error.errno == errno.ELOOP:  # The system's words are "Too many levels of symbolic links".
                what = "it is a symbolic link"
            advice = _BY_NUMBER.get(error.errno or 0, "mend that, or give the store another path")
            raise StoreTrouble(f"the shared file store could not {doing}: {name}: {what}; {advice}") from None

    def exists(self) -> bool:
        """Whether the folder is there. Raises if it cannot be made either, or if others can get at what it holds."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            if self._given is None or os.path.isdir(os.path.dirname(self.path)):  # noqa: PTH112, PTH120 (pathlib costs time)
                return False
            raise
        self._check(self.path, found, stat.S_ISDIR, "a folder", "700")
        return True

    def make(self) -> None:
        """Make the folder unless it is there. The folders that lead to it are made only where no path was given."""
        if self.exists():
            return
        if self._given is None:
            os.makedirs(os.path.dirname(self.path), 0o700, exist_ok=True)  # noqa: PTH103, PTH120 (pathlib costs time)
        with suppress(FileExistsError):
            os.mkdir(self.path, 0o700)  # noqa: PTH102
        self.exists()

    def open(self, name: str, flags: int) -> int:
        """A descriptor of the file ``name``. Raises :class:`StoreTrouble` if others can get at the file."""
        path = self.place(name)
        fd = os.open(path, flags | _FLAGS, 0o600)
        try:
            self._check(path, os.fstat(fd), stat.S_ISREG, "a file", "600")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def read(self, name: str, most: int) -> bytes | None:
        """The first ``most`` bytes of the file ``name``; None if there is no such file."""
        try:
            fd = self.open(name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        with open(fd, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read(most)

    def write(self, name: str, content: bytes) -> None:
        """Put ``content`` in the place of the file ``name``, whole or not at all.

        Only one writer may do so at a time, which is the caller's to see to.
        """
        new = f"{name}.new"
        self.remove(new)  # A writer that was killed may have left one.
        fd = self.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            with open(fd, "wb", buffering=0) as file:  # noqa: PTH123
                left = memoryview(content)
                while left:
                    left = left[file.write(left) :]
                os.fsync(fd)
            os.replace(self.place(new), self.place(name))  # noqa: PTH105
        except BaseException:
            with suppress(OSError):
                self.remove(new)
            raise
        self._settle()

    def remove(self, name: str) -> None:
        """See to it that there is no file ``name``."""
        with suppress(FileNotFoundError):
            os.unlink(self.place(name))  # noqa: PTH108

    def names(self, start: str) -> list[str]:
        """The names of all files that begin with ``start``."""
        return [name for name in os.listdir(self.path) if name.startswith(start)]  # noqa: PTH208

    def place(self, name: str) -> str:
        """The path of the file ``name``."""
        return os.path.join(self.path, name)  # noqa: PTH118

    def _settle(self) -> None:
        """Have the folder itself written to the disk, so that the name of a new file survives a power cut.

        Where folders cannot be opened, as on Windows, that is left to the system.
        """
        flags = getattr(os, "O_DIRECTORY", None)
        if flags is not None:
            fd = os.open(self.path, os.O_RDONLY | flags)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    @staticmethod
    def _check(path: str, found: os.stat_result, is_kind: Callable[[int], bool], kind: str, mode: str) -> None:
        if stat.S_ISLNK(found.st_mode):
            raise OSError(errno.ELOOP, "", path)
        if not is_kind(found.st_mode):
            raise StoreTrouble(f"the shared file store found {path}, which is not {kind}: remove it")
        if not hasattr(os, "geteuid"):  # On Windows neither owner nor mode says who can get at a file.
            return
        if found.st_uid != os.geteuid():
            raise StoreTrouble(
                f"the shared file store found {path}, which belongs to user {found.st_uid}, while this runs as user "
                f"{os.geteuid()}: run it as that user, or give the store a folder of its own"
            )
        if found.st_mode & 0o077:
            raise StoreTrouble(
                f"the shared file store found {path}, which others may read or write (mode "
                f"{stat.S_IMODE(found.st_mode):03o}): see who did that, and run chmod {mode} {path}"
            )


def _default_place() -> str:
    """The folder in which programs of this user keep their state. Raises :class:`StoreTrouble` without a home."""
    from platformdirs import user_state_dir  # noqa: PLC0415 (not needed where a path is given)

    home, place = os.path.expanduser("~"), user_state_dir("evertoken", appauthor=False)  # noqa: PTH111
    is_at_home = place.startswith(os.path.join(home, ""))  # noqa: PTH118
    if not os.path.isabs(place) or (is_at_home and not os.path.isdir(home)):  # noqa: PTH112, PTH117
        raise StoreTrouble(
            f"the shared file store has no place: this user has no home folder (HOME is {home}). Give the store a path "
            "(--store PATH on the command line), of a folder that this user can write"
        )
    return place
