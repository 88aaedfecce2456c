"""The clock of a folder: one for all processes of a host, which no step of the wall clock moves until the next boot.

Moments are Unix time as it was believed once: at the first use after a boot the difference between the wall clock and
the time since the boot is chosen, and is kept with the value that it dates. Until the next boot only the time since the
boot counts, suspend included: a wall clock that is set forward ends no block and no lease, one that is set back
prolongs none.

After a reboot only the wall clock can say how much time has passed, so the difference is chosen anew. A wall clock that
then stands before the last write is wrong by an unknown time, and moments go on from that write, so that none is ever
repeated. A block then lasts longer, by the time that the host was down, and never shorter. A token is believed to be
younger by the same time; if it has expired, its API refuses it, and it is dropped.

Where the system does not tell one boot from another (it has no boot id), a wall clock that is more than a minute ahead
of the moment by the difference is taken for a sign of a reboot.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from evertoken_transports._clock import Clock, suspend_aware_clock

_ANOTHER_BOOT = 60.0
"""Seconds by which the wall clock is ahead after a reboot, where the system has no boot id."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which boot a moment belongs to, and how moments of that boot are reckoned.

    Attributes:
        boot: the identity of the boot; empty where the system has none.
        offset: seconds which, added to the time since the boot, give a moment.
        uptime: seconds from the boot to the moment at which the stamp was made, and written with a value.
    """

    boot: str
    offset: float
    uptime: float

    @property
    def written(self) -> float:
        """The moment at which the stamp was made."""
        return self.uptime + self.offset


def boot_identity() -> str:
    """What tells this boot, and this time namespace, from all others; empty where the system has nothing of the kind.

    In another time namespace (``unshare -T``, some containers) the time since the boot is another, so it counts as
    another boot.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 (pathlib costs time)
            boot = file.read(64).strip()
    except (OSError, UnicodeDecodeError):
        return ""
    try:
        return f"{boot} {os.readlink('/proc/self/ns/time')}"  # noqa: PTH115
    except (AttributeError, OSError):  # Linux has time namespaces from 5.6 on, and other systems have none.
        return boot


class HostClock:
    """Tells the moments of a folder. The arguments are for tests."""

    def __init__(
        self,
        *,
        clock: Clock = suspend_aware_clock,
        wall: Callable[[], float] = time.time,
        boot: Callable[[], str] = boot_identity,
    ) -> None:
        self._clock, self._wall, self._boot = clock, wall, boot

    def stamp(self, last: Stamp | None, *, otherwise: float | None = None) -> Stamp:
        """A stamp of this very moment, whose moments go on from those of ``last``.

        Where there is no ``last``, as after the file was removed, ``otherwise`` is the offset that this process used
        last, if any.
        """
        boot, uptime = self._boot(), self._clock()
        if last is not None and self._goes_on(last, boot, uptime):
            return Stamp(boot, last.offset, uptime)
        if last is None and otherwise is not None:
            return Stamp(boot, otherwise, uptime)
        offset = self._wall() - uptime
        if last is not None:
            offset = max(offset, last.written - uptime)
        return Stamp(boot, offset, uptime)

    def _goes_on(self, last: Stamp, boot: str, uptime: float) -> bool:
        """Whether ``last`` was made in this boot."""
        if boot != last.boot or uptime < last.uptime:
            return False
        return bool(boot) or self._wall() - (uptime + last.offset) < _ANOTHER_BOOT
