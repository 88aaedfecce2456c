"""Noticing that an event loop of asyncio is closed while tasks wait in it, since asyncio does not tell the tasks."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable


class _Mark:
    """An object that nothing but a timer of the loop holds, so that it goes when the loop drops the timer."""


def when_closed(
    loop: asyncio.AbstractEventLoop, seconds: float, call: Callable[..., object], *arguments: object
) -> Callable[[], None]:
    """Call ``call(*arguments)`` if ``loop`` is closed within ``seconds``, unless the returned function is called first.

    A loop that is closed drops its timers and whatever they hold, which is the one thing that others can notice of it.
    ``call`` must not keep the loop alive.
    """
    mark = _Mark()
    finalizer = weakref.finalize(mark, call, *arguments)
    finalizer.atexit = False
    timer = weakref.ref(loop.call_later(seconds, _let_go, finalizer, mark))

    def over() -> None:
        finalizer.detach()
        if (known := timer()) is not None:
            known.cancel()

    return over


def _let_go(finalizer: weakref.finalize[..., _Mark], _: _Mark) -> None:
    finalizer.detach()
