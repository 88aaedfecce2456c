"""The processes of ``test_processes``: ``python -m tests.real.child WHAT RUNTIME LIBRARY BASE_URL``.

Each begins a token request, and goes on once a line arrives on standard input: the test knows when the server has the
request. What it has to tell goes to standard output, a line each. Nothing is ever written to standard error, unless
Python has something to complain about.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from evertoken import Policy
from evertoken_transports._runtime import in_thread
from tests.kits import canary
from tests.kits.adapters import Kind, coordinator_of, source_of
from tests.kits.httpx_kits import run_in
from tests.kits.worlds import LIMIT, run_in_threads

__all__ = ("main",)

FOR_EVER = 600.0
"""Seconds: far beyond the time that the test waits for this process."""

SOON = 2.0
"""Seconds."""

# A source of any runtime.
Source = Any


def main(what: str, runtime: str, library: str, base_url: str) -> None:
    """Do ``what``."""
    kind = Kind(runtime, library)
    timeout = SOON if what == "fork_and_give_up" else FOR_EVER
    coordinator = coordinator_of(canary.grant(base_url=base_url), Policy(request_timeout=timeout))
    _DEEDS[what](kind, source_of(kind, coordinator))


def leave(kind: Kind, source: Source) -> None:
    """End while the request is under way, with callers who wait for it."""
    if kind.runtime == "threads":
        for _ in range(3):
            threading.Thread(target=source.authorization, args=(FOR_EVER,), daemon=True).start()
    under_way(kind, source, lambda: None)


def ask_at_exit(kind: Kind, source: Source) -> None:
    """Want a token when the interpreter is already on its way out."""
    atexit.register(lambda: say(asked(kind, source)))


def fork(kind: Kind, source: Source) -> None:
    """Fork while the request is under way. Both sides want a token, the child first."""
    under_way(kind, source, fork_here(kind, source))


def fork_and_give_up(kind: Kind, source: Source) -> None:
    """Fork while the request is under way, and live for as long as the child does, which asks for nothing."""

    def then() -> bool:
        child = os.fork()
        if child == 0:
            sys.stdin.readline()
            os._exit(0)
        return False

    under_way(kind, source, then)
    os.wait()


def go_on(kind: Kind, source: Source) -> None:
    """Be interrupted while waiting, and ask again."""
    # A shell that starts tests in the background has them ignore this signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        asked(kind, source, FOR_EVER)
    except KeyboardInterrupt:
        say("interrupted")
    say(asked(kind, source))


def under_way(kind: Kind, source: Source, then: Callable[[], object]) -> None:
    """Begin a request, call ``then`` once the server has it, and want the token if ``then`` says so."""
    if kind.runtime == "threads":
        source.authorization_nowait()
        sys.stdin.readline()
        if then():
            say(source.authorization(LIMIT))
        return

    async def in_the_loop() -> None:
        source.authorization_nowait()
        await in_thread(sys.stdin.readline)
        if then():
            say(await source.authorization(LIMIT))

    run_in(kind.runtime, in_the_loop)


def fork_here(kind: Kind, source: Source) -> Callable[[], bool]:
    """What forks, lets the child tell its token and end, and says in the parent that it wants one as well."""

    def then() -> bool:
        child = os.fork()
        if child == 0:
            # In a thread of its own: the parent's loop runs in this one.
            (came,) = run_in_threads(1, lambda _: asked(kind, source))()
            say(came)
            os._exit(0)
        return os.waitpid(child, 0)[1] == 0

    return then


def asked(kind: Kind, source: Source, timeout: float = LIMIT) -> str:
    """The header that ``source`` gives, in an event loop made for it where it needs one."""
    if kind.runtime == "threads":
        return str(source.authorization(timeout))
    waiting: Callable[[], Awaitable[str]] = lambda: source.authorization(timeout)  # noqa: E731
    return run_in(kind.runtime, waiting)


def say(what: object) -> None:
    """Tell the test."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


_DEEDS = {
    "leave": leave,
    "ask_at_exit": ask_at_exit,
    "fork": fork,
    "fork_and_give_up": fork_and_give_up,
    "go_on": go_on,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
