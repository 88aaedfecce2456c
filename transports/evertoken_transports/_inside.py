"""Whether this very thread is in the midst of a step that nothing else may come into.

Python runs ``__del__``, the ``finally`` of a dropped generator and signal handlers wherever a thread happens to be, and
so also where it holds a lock of ours. What runs there must neither wait nor take another lock: another thread may hold
that one, and be about to wait for this one. So what it asks for is refused if it would have to wait, and what it
reports is put off until the step is over.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast


@cache
def _here() -> threading.local:
    """The values of this thread. Made when first needed, as gevent may have replaced ``threading.local`` by then."""
    return threading.local()


def step() -> threading.RLock:
    """A lock of this thread alone, which a step holds beside its own. Nobody ever waits for it.

    It is a lock and not a counter, since no interruption comes between the beginning of a ``with`` over a lock and its
    being held, so that nothing is left behind by one.
    """
    here = vars(_here())
    lock: threading.RLock = here.get("lock") or here.setdefault("lock", threading.RLock())
    return lock


def is_inside() -> bool:
    """Whether this thread is in the midst of a step."""
    return bool(cast("Any", step())._is_owned())


@contextmanager
def telling() -> Generator[None]:
    """Note that callbacks are called in this thread while the block runs."""
    here = vars(_here())
    here["told"] = here.get("told", 0) + 1
    try:
        yield
    finally:
        here["told"] -= 1


def is_telling() -> bool:
    """Whether this thread is in the midst of a callback."""
    return bool(vars(_here()).get("told"))
