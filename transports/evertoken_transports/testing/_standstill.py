"""The text of the error that virtual time stands still: who waits, who does not, and what to do about it."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from evertoken_transports.testing._alarms import is_paused

_WAITING_ROOMS = {"threading.py", "queue.py", "selectors.py", "socket.py"}
"""Files in which a thread waits for somebody else. Their frames are passed over, as those of this package are: a reader
looks for the place that called them."""

_HERE = Path(__file__).parent

_MOST_SHOWN = 8


class Standstill(NamedTuple):
    """What a :class:`VirtualClock` knows of a moment at which time stands still. The text of this is for people."""

    now: float
    seconds: float
    """Real seconds since anything happened on the clock."""
    autojump: bool
    waiting: list[tuple[float, object]]
    """Until when, and which task or thread."""
    running: list[object]
    """Tasks and threads, None where it is not known."""
    loose: int
    """Token requests whose carriers wait for nothing on the clock."""

    def __str__(self) -> str:
        seen = [
            *(f"waits until {when:.10g}: {described(who)}" for when, who in self.waiting[:_MOST_SHOWN]),
            *(f"at work: {described(who)}" for who in self.running[:_MOST_SHOWN]),
            *(["under way: a token request, carried by code that does not wait on this clock"] * self.loose),
            *(f"another thread: {other}" for other in _other_threads() if self.loose or self.running),
        ]
        return "\n".join([self._headline(), *(f"  {line}" for line in seen), self._advice()])

    def _headline(self) -> str:
        return (
            f"Time stands still: for {self.seconds:.3g} real seconds nothing has happened on this VirtualClock, "
            f"which shows {self.now:.10g}."
        )

    def _advice(self) -> str:
        if not self.autojump:
            return "autojump is False, so that no wait makes time pass: call advance() in another thread or task."
        if any(is_paused(who) for who in self.running):
            return "Run the event loop that is paused, close it, or use one loop for fixture and test."
        if self.loose or self.running:
            return (
                "It goes on when those at work are done or wait on this clock too. Does an exchange or a callback wait "
                "for something else, or does a call without await block an event loop? Raise clock.stuck_after if "
                "something is only slow."
            )
        return "Nobody waits for a moment that ever comes: give the call that hangs a timeout."


def described(who: object) -> str:
    """Words for a task or a thread; of a thread they say where it is."""
    if isinstance(who, int):
        return _thread(who)
    if who is None:
        return "a caller who was woken"
    task: Any = who
    name = task.get_name() if hasattr(task, "get_name") else task.name
    coroutine = getattr(task.get_coro() if hasattr(task, "get_coro") else task.coro, "__qualname__", "")
    return f"task {name!r} ({coroutine}){', whose event loop is not running' if is_paused(who) else ''}"


def _thread(ident: int) -> str:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    if ident not in names:
        return "a thread that has ended"
    return f"thread {names[ident]!r}{_place(sys._current_frames().get(ident))}"  # noqa: SLF001 (documented)


def _place(frame: FrameType | None) -> str:
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.name not in _WAITING_ROOMS and path.parent != _HERE:
            return f" at {path.name}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return ""


def _other_threads() -> list[str]:
    here = threading.get_ident()
    idents = [thread.ident for thread in threading.enumerate() if thread.ident not in (None, here)]
    return [_thread(ident) for ident in idents[:_MOST_SHOWN] if ident is not None]
