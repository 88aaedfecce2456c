"""Starting a thread beside a caller, where one can be had."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Callable

__all__ = ("start_thread",)


def start_thread(name: str, work: Callable[..., object], *arguments: object) -> bool:
    """Whether a daemon thread now does ``work(*arguments)``. If False, nothing was started, and nothing will be.

    None can be had at the limit of threads, in a subinterpreter that allows no daemon threads (already the making of
    one raises there), and once the interpreter is on its way out. In the last stage of that, Python 3.11 neither raises
    nor comes back from ``start``, so it must not be called there at all.

    The thread begins in an empty context: it works for everybody, and nothing of it, no log record, no event, belongs
    to the caller who happened to be first. (Free-threaded builds and gevent would hand the caller's context on.)
    """
    if sys.is_finalizing():
        return False
    run = contextvars.Context().run
    try:
        threading.Thread(target=run, args=(work, *arguments), name=name, daemon=True).start()
    except RuntimeError:
        return False
    return True
