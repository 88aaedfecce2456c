"""Noticing that an event loop of asyncio is closed in the midst of things: its tasks are told nothing of it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable


class _Mark:
    """Something that only a timer of the loop holds."""


def when_closed(
    loop: asyncio.AbstractEventLoop, seconds: float, call: Callable[..., object], *arguments: object
) -> Callable[[], None]:
    """Call ``call(*arguments)`` if ``loop`` is closed within ``seconds``, unless what is returned was called before.

    A loop that is closed drops its timers, and whatever they hold: that can be noticed, and nothing else can. ``call``
    must not keep the loop alive.
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
