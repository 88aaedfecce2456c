"""Locks on files that the kernel frees when their holder dies, and that a forked child does not hold."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

from evertoken_transports.stores._folder import Folder

_SHORTEST, _LONGEST = 0.001, 0.02
"""Seconds between two tries to get a lock, which grow from the first to the second."""

_open: set[int] = set()
"""Descriptors that a forked child must close: by a copy of them, a lock would outlive the process that holds it."""


class FileLock:
    """A file that this process has locked or is about to lock, until it is freed or the process dies."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pid = os.getpid()
        _open.add(fd)

    @classmethod
    def taken(cls, folder: Folder, name: str, timeout: float, *, make: bool = False) -> FileLock | None:
        """The lock on the file ``name``; None if another holds it for ``timeout`` seconds.

        If ``make`` is true, a file that is missing is made; else FileNotFoundError is raised.
        """
        from filelock import lock_descriptor  # noqa: PLC0415 (a tenth of a second, which a mere look need not cost)

        lock = cls(folder.open(name, os.O_RDWR | (os.O_CREAT if make else 0)))
        deadline, pause = time.monotonic() + timeout, _SHORTEST
        try:
            while not lock_descriptor(lock._fd, blocking=False):
                left = deadline - time.monotonic()
                if left <= 0:
                    lock.free()
                    return None
                threading.Event().wait(min(pause, left))  # Under libfaketime, with which tests run, time.sleep fails.
                pause = min(2 * pause, _LONGEST)
        except BaseException:
            lock.free()
            raise
        return lock

    @property
    def is_ours(self) -> bool:
        """Whether this very process holds the lock."""
        return self._fd in _open and self._pid == os.getpid()

    def free(self) -> None:
        """Let go of the lock. Harmless if it is free, and in a forked child, whose parent keeps it."""
        is_ours, fd, self._fd = self.is_ours, self._fd, -1
        if is_ours:
            _open.discard(fd)
            from filelock import unlock_descriptor  # noqa: PLC0415

            # A child that is being forked may have the file open as well, so that to close it here would not free it.
            with suppress(OSError):
                unlock_descriptor(fd)
            os.close(fd)

    def __del__(self) -> None:
        if self._fd >= 0:
            self.free()


def _after_fork_in_child() -> None:
    while _open:
        with suppress(OSError):
            os.close(_open.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
