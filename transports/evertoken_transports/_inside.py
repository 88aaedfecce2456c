"""Whether this very thread is in the midst of a step that nothing else may come into.

Python runs ``__del__``, the ``finally`` of a dropped generator and signal handlers wherever a thread happens to be, and
so also where it holds a lock of ours. What runs there must neither wait nor take another lock: another thread may hold
that one, and be about to wait for this one. So it is told no, or is put off until the step is over.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast


@cache
def _here() -> threading.local:
    """Made when it is first needed: gevent may have put another kind in its place by then."""
    return threading.local()


def step() -> threading.RLock:
    """What a step holds beside its lock. It belongs to this thread alone, so that nobody ever waits for it.

    A lock and no counter: no interruption comes between the beginning of a ``with`` over a lock and its being held.
    """
    here = vars(_here())
    lock: threading.RLock = here.get("lock") or here.setdefault("lock", threading.RLock())
    return lock


def is_inside() -> bool:
    """Whether this thread is in the midst of a step."""
    return bool(cast("Any", step())._is_owned())


@contextmanager
def telling() -> Generator[None]:
    """While callbacks are called in this thread."""
    here = vars(_here())
    here["told"] = here.get("told", 0) + 1
    try:
        yield
    finally:
        here["told"] -= 1


def is_telling() -> bool:
    """Whether this thread is in the midst of a callback."""
    return bool(vars(_here()).get("told"))
