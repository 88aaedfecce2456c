"""The clock of a folder on this host: the same for all processes, deaf to the wall clock's steps, right after a reboot.

Moments are Unix time as it was believed once: at the first use after a boot the difference between the wall clock and
the time since the boot is chosen, and is kept with the value that it dates. Until the next boot only the time since the
boot counts, suspend included: a wall clock that is set forward ends no block and no lease, one that is set back
prolongs none.

After a reboot the wall clock is all that there is, so the difference is chosen anew. If the wall clock then stands
before the last write, it is wrong by an unknown time: moments go on from that write, so that none is ever repeated. A
block lasts longer by that error then, never shorter; and a token is believed to be younger than it is by the time that
the host was down, for which its API's refusal is the net.

Where the system tells no boot from another (it has no boot id), a wall clock that is more than a minute ahead of
what the difference says stands for a reboot.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from evertoken_transports._clock import Clock, suspend_aware_clock

_ANOTHER_BOOT = 60.0


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which boot a moment belongs to, and how moments of that boot are reckoned.

    Attributes:
        boot: of which boot; empty where the system does not tell.
        offset: seconds, which added to the time since the boot give a moment.
        uptime: seconds from the boot to the writing.
    """

    boot: str
    offset: float
    uptime: float

    @property
    def written(self) -> float:
        """The moment of the writing."""
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
    except (AttributeError, OSError):  # Linux before 5.6, or not Linux
        return boot


class HostClock:
    """Moments of a folder. Its arguments are for tests."""

    def __init__(
        self,
        *,
        clock: Clock = suspend_aware_clock,
        wall: Callable[[], float] = time.time,
        boot: Callable[[], str] = boot_identity,
    ) -> None:
        self._clock, self._wall, self._boot = clock, wall, boot

    def stamp(self, last: Stamp | None, *, otherwise: float | None = None) -> Stamp:
        """A stamp of this very moment, which goes on from ``last``.

        If there is none, ``otherwise`` is the offset that was last used here in this process.
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
        """Whether ``last`` is of this boot."""
        if boot != last.boot or uptime < last.uptime:
            return False
        return bool(boot) or self._wall() - (uptime + last.offset) < _ANOTHER_BOOT
