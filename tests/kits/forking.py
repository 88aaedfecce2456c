"""Runs work in a forked child of the process that runs the tests, and sees to it that the child runs none of them."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Callable

from tests.kits.worlds import LIMIT

__all__ = ("holds_in_a_child",)


def holds_in_a_child(work: Callable[[], bool]) -> bool:
    """What ``work`` gives in a forked child, which ends with that, whatever happens.

    A child that raised would go on with the tests that come next, in the name of its parent. One that hangs would keep
    the parent's pipes open after that has ended, and whoever reads from them would wait for ever.
    """
    child = os.fork()
    if child == 0:
        # A signal ends a child that hangs. faulthandler's own timer would wait for a thread that only the parent has.
        faulthandler.register(signal.SIGALRM, file=2, chain=True)
        signal.alarm(int(LIMIT))
        try:
            os._exit(0 if work() else 1)
        except BaseException:  # noqa: BLE001 (also what would end the child in an orderly way)
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
