"""One token for all processes of one user on one host: what they share is a file."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec

from evertoken.sharing._store import Found, StoreTrouble, Swapped
from evertoken_transports.stores._folder import Folder
from evertoken_transports.stores._host_clock import HostClock, Stamp
from evertoken_transports.stores._key import FORMAT, check_key
from evertoken_transports.stores._locks import FileLock

__all__ = ("FileStore",)

_MOST = 1 << 20
"""Bytes. No record is as long, so a longer file is not ours, and is read no further."""

_HOLDER = re.compile(r"[\w.-]{0,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a file holds: the value, when it was written, until when it counts, and the last holder that was named."""

    value: bytes | None = field(default=None, repr=False)
    stamp: Stamp | None = None
    until: float = math.inf
    holder: str = ""

    def content(self, stamp: Stamp) -> bytes:
        """The bytes of a file that holds this entry, written at the moment of ``stamp``."""
        head = {
            "boot": stamp.boot,
            "offset": stamp.offset,
            "uptime": stamp.uptime,
            "until": None if math.isinf(self.until) else self.until,
            "holder": self.holder,
            "length": len(self.value or b""),
        }
        return json.dumps(head).encode() + b"\n" + (self.value or b"")

    @classmethod
    def read(cls, content: bytes | None) -> _Entry:
        """The entry in ``content``. A torn or foreign ``content`` is all taken for the value, which readers refuse."""
        if content is None:
            return cls()
        head, _, value = content.partition(b"\n")
        try:
            said = json.loads(head)
            numbers = [said["offset"], said["uptime"], math.inf if said["until"] is None else said["until"]]
            stamp = Stamp(said["boot"], float(numbers[0]), float(numbers[1]))
            sound = all(isinstance(said[name], str) for name in ("boot", "holder"))
            sound &= all(type(each) in (int, float) and abs(each) < 2**40 for each in numbers[:2])
            sound &= not math.isnan(numbers[2]) and said["length"] == len(value)
            sound &= _HOLDER.fullmatch(said["holder"]) is not None
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return cls(content)
        return cls(value, stamp, float(numbers[2]), said["holder"]) if sound else cls(content)


class FileStore:
    """A store in a folder: for all processes of one user on one host.

    Args:
        path: the folder. It is made if it is not there (mode 700), but not the folders that lead to it. Default: the
            folder in which this user's programs keep their state, ``~/.local/state/evertoken`` on Linux, which is made
            with those that lead to it.

    Two stores with the same path are equal. To make one costs little, touches no file, and may be done before a fork.

    **Who is trusted**: every process of this user. The folder and each file must belong to the user that runs this, and
    must be closed to all others; links are not followed. Where that is not so, and where the folder cannot be made,
    written or locked, each call raises :class:`~evertoken.sharing.StoreTrouble`, which says how to mend it.

    **A process that dies frees its lease at once**: while it asks it holds a lock on a file, which the kernel frees.

    **Time** is Unix time as it was believed at the first use after a boot, and goes on by the time since that boot. To
    set the wall clock during a boot changes nothing, in either direction. After a reboot moments go on from the wall
    clock, and never before the last write.

    **Power cuts and full disks**: a value is replaced whole or not at all. If a file is torn or foreign all the same,
    the reader refuses what it holds, and the next write replaces it. There is never anything to clean up; an empty lock
    file stays for each key.

    A network file system will do if it can lock files. Then this must run as the same user on all hosts, whose clocks
    must agree to a second. Where the file system hangs, a call hangs with it.

    Raises:
        TypeError, ValueError: ``path`` is no path.
        ImportError: ``filelock`` or ``platformdirs`` is not installed.
    """

    _path: str | None = None

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        if path is not None and not isinstance(path, str | os.PathLike):
            raise TypeError(f"path must be the path of a folder, not {type(path).__name__}")
        if path is not None and "\0" in os.fspath(path):
            raise ValueError("path must be the path of a folder, and such have no null character")
        if path is not None and not os.fspath(path):
            raise ValueError("path must be the path of a folder, not an empty one: leave it out for the user's own")
        missing = [name for name in ("filelock", "platformdirs") if find_spec(name) is None]
        if missing:
            raise ImportError(
                f"FileStore needs {' and '.join(missing)}. To install: pip install {' '.join(missing)} "
                "(or, in a checkout of evertoken, pip install '.[file]')"
            )
        self._path = None if path is None else os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 (keeps links, to refuse)
        self._folder = Folder(self._path)
        self._clock = HostClock()
        self._offsets: dict[str, float] = {}
        """For each key, the difference between moments and the time since the boot, to go on by if the file is gone."""
        self._held: dict[str, tuple[str, FileLock]] = {}
        """For each key, the last holder that this process has named, and the lock by which others see that it lives."""

    def __repr__(self) -> str:
        return f"FileStore({'' if self._path is None else repr(self._path)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileStore) and self._path == other._path

    def __hash__(self) -> int:
        return hash((FileStore, self._path))

    def __reduce__(self) -> tuple[type[FileStore], tuple[str | None]]:
        return FileStore, (self._path,)

    def load(self, key: str, /, *, timeout: float) -> Found:
        """What stands under ``key``. See :class:`evertoken.sharing.Store`.

        Raises:
            StoreTrouble: the folder or the file cannot be read, or is not safe from others.
            ValueError: ``key`` is not 64 hexadecimal digits.
        """
        check_key(key)
        with self._folder.trouble("be read"):
            entry = self._entry(key) if self._folder.exists() else _Entry()
            stamp = self._stamp(key, entry)
            found = self._found(key, entry, stamp)
        if found.value is None or entry.stamp is None or entry.stamp.offset == stamp.offset:
            return found
        # The first look after a reboot writes down how moments are reckoned in this boot, for all processes. A store
        # that can be read and not written is still of use, so a failure of that is no failure of the look.
        with suppress(StoreTrouble):
            return self._after_reboot(key, timeout)
        return found

    def swap(
        self,
        key: str,
        expected: bytes | None,
        value: bytes | None,
        /,
        *,
        lasts: float,
        holder: str = "",
        timeout: float,
    ) -> Swapped:
        """Replace ``expected`` by ``value``. See :class:`evertoken.sharing.Store`.

        Raises:
            StoreTrouble: the folder cannot be made, written or locked, or is not safe from others.
            ValueError: ``key`` is not 64 hexadecimal digits.
        """
        check_key(key)
        with self._folder.trouble("be written"):
            self._folder.make()
            lock = self._lock(key, timeout)
            try:
                entry = self._entry(key)
                stamp = self._stamp(key, entry)
                found = self._found(key, entry, stamp)
                self._free(key, entry.holder)
                if found.value != expected:
                    return Swapped(done=False, found=found)
                if value is None:
                    self._folder.remove(_name(key))
                    self._free(key, "")
                    return Swapped(done=True, found=Found(None, stamp.written))
                # If this process swaps and names no holder, it gives up its lease. The file then names no holder
                # either, so that others need not look for the lock of one.
                stays = "" if entry.holder == self._mine(key) else entry.holder
                new = _Entry(value, stamp, stamp.written + lasts, holder or stays)
                return self._written(key, entry, new, stamp)
            finally:
                lock.free()

    def subscribe(self, key: str, callback: Callable[[], None], /) -> None:  # noqa: ARG002 (the protocol's)
        """Nothing is subscribed to, since a file tells nobody of its changes: who waits looks again after a while."""
        return

    def close(self) -> None:
        """Free the locks of this process, by which it counts as dead to others: its leases are over."""
        for key in list(self._held):
            self._free(key, "")

    def _after_reboot(self, key: str, timeout: float) -> Found:
        with self._folder.trouble("be written"):
            lock = self._lock(key, timeout)
            try:
                entry = self._entry(key)
                stamp = self._stamp(key, entry)
                found = self._found(key, entry, stamp)
                if found.value is not None and entry.stamp is not None:
                    self._folder.write(_name(key), entry.content(stamp))
                return found
            finally:
                lock.free()

    def _lock(self, key: str, timeout: float) -> FileLock:
        name = f"{_name(key)}.lock"
        lock = FileLock.taken(self._folder, name, timeout, make=True)
        if lock is None:
            raise StoreTrouble(
                f"the shared file store could not be locked for {timeout:g} s: another process holds "
                f"{self._folder.place(name)}. It is stopped, or the disk is very slow: see which it is with fuser or "
                "lsof, and let it go on, or end it"
            )
        return lock

    def _entry(self, key: str) -> _Entry:
        return _Entry.read(self._folder.read(_name(key), _MOST))

    def _stamp(self, key: str, entry: _Entry) -> Stamp:
        """The stamp of this moment. Its offset is remembered, so that time goes on by it if the file is removed."""
        stamp = self._clock.stamp(entry.stamp, otherwise=self._offsets.get(key))
        self._offsets[key] = stamp.offset
        return stamp

    def _found(self, key: str, entry: _Entry, stamp: Stamp) -> Found:
        if entry.value is None or stamp.written >= entry.until:
            return Found(None, stamp.written)
        return Found(entry.value, stamp.written, self._lives(key, entry.holder))

    # Under the lock of the key
    # -------------------------

    def _written(self, key: str, old: _Entry, new: _Entry, stamp: Stamp) -> Swapped:
        """Replace the file. A holder that ``new`` names is tied to this process by a lock.

        The lock is taken before the file names the holder, so that the holder never seems dead to others.
        """
        held = None
        if new.holder and new.holder != old.holder:
            self._sweep(key, old.holder)
            held = FileLock.taken(self._folder, _name_of_holder(key, new.holder), 0.0, make=True)
        try:
            self._folder.write(_name(key), new.content(stamp))
        except BaseException:
            if held is not None:
                held.free()
                self._remove_holder(key, new.holder)
            raise
        if new.holder != old.holder:
            self._free(key, "")
            self._remove_holder(key, old.holder)
        if held is not None:
            self._held[key] = (new.holder, held)
        return Swapped(done=True, found=Found(new.value, stamp.written, self._lives(key, new.holder)))

    def _free(self, key: str, keep: str) -> None:
        """Let go of the lock of the last holder that this process named, unless it is ``keep``."""
        holder, held = self._held.get(key, ("", None))
        if held is not None and holder != keep:
            del self._held[key]
            if held.is_ours:
                held.free()
                self._remove_holder(key, holder)

    def _remove_holder(self, key: str, holder: str) -> None:
        if holder:
            with suppress(OSError):  # A file that stays is swept when the next lease is taken.
                self._folder.remove(_name_of_holder(key, holder))

    def _sweep(self, key: str, holder: str) -> None:
        """Remove the lock files of other holders than ``holder``: their processes died before they could.

        Some of them died before they had written the record that names the holder, so that no other file tells of it.
        """
        for name in self._folder.names(_name_of_holder(key, "")):
            if name != _name_of_holder(key, holder) and not self._is_locked(name):
                self._folder.remove(name)

    # Who lives
    # ---------

    def _mine(self, key: str) -> str | None:
        """The last holder that this very process has named, if it still holds the holder's lock."""
        mine, held = self._held.get(key, (None, None))
        return mine if held is not None and held.is_ours else None

    def _lives(self, key: str, holder: str) -> bool | None:
        """Whether the process that named ``holder`` still has its lock, and so lives; None if there is no holder."""
        if not holder:
            return None
        return holder == self._mine(key) or self._is_locked(_name_of_holder(key, holder))

    def _is_locked(self, name: str) -> bool:
        try:
            lock = FileLock.taken(self._folder, name, 0.0)
        except FileNotFoundError:
            return False
        if lock is None:
            return True
        lock.free()
        return False


def _name(key: str) -> str:
    return f"{FORMAT}-{key}"


def _name_of_holder(key: str, holder: str) -> str:
    return f"{_name(key)}.holder-{holder}"
