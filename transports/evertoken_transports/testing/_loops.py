"""An event loop whose own time is virtual: when no task has anything left to do, time jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors

from typing_extensions import override

_STUCK_AFTER = 20.0
"""Real seconds that the loop waits for another thread where no timer is set, before it says that it is stuck."""


class VirtualEventLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop on a clock that starts at 0: where the loop would sleep, its clock jumps to the end of that.

    ``asyncio.Runner(loop_factory=VirtualEventLoop)`` runs hours in milliseconds, in the same order each time. Real
    sockets and threads take no virtual time: do not wait for them here.

    Raises:
        RuntimeError: from the loop, if every task waits for something that no timer will bring about, and no other
            thread has brought it about in 20 real seconds.
    """

    def __init__(self) -> None:
        self._selector_of_time = _JumpingSelector()
        super().__init__(self._selector_of_time)

    @override
    def time(self) -> float:
        return self._selector_of_time.now


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            ready = super().select(_STUCK_AFTER)
            if not ready:
                raise RuntimeError("every task of this virtual event loop waits for something that never happens")
            return ready
        ready = super().select(0)
        if not ready and timeout > 0:
            self.now += timeout
        return ready
