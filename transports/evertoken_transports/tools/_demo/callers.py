"""Threads that make API calls for as long as the story lasts, and number them, so that the log shows which are missing.

A caller makes one call at a time. Its calls carry ``X-Request-Id: <caller>-<number>``, counted from 0.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Self

import httpx

from evertoken import LocalProtocolError, TokenUnavailable
from evertoken_transports.tools._demo.rigs import Rig

_PAUSE = 0.08
"""Seconds between two calls of the first caller. Each of the next ones takes a little longer, so that their calls
spread out."""
_PACES = 8
_PAUSE_AFTER_FAILURE = 0.25
_LONG = 0.2
"""A call under way for this many seconds is shown as waiting."""
_GRACE = 5.0


class Tally(NamedTuple):
    """What the callers have seen so far. For the view; the verdict does not use it."""

    served: int
    waiting: int
    failures: tuple[tuple[str, int], ...]
    """How many calls failed with what."""

    @property
    def failed(self) -> int:
        """Calls that came to nothing."""
        return sum(count for _, count in self.failures)


class Callers:
    """The threads. They start with a ``with`` block, whose end stops them at once, also those that wait for a token."""

    def __init__(self, rigs: Sequence[Rig], threads: int) -> None:
        self._rigs = rigs
        self._clients = [httpx.Client(auth=rig.auth, base_url=rig.api_base, trust_env=False) for rig in rigs]
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._served = 0
        self._failures: Counter[str] = Counter()
        self._calling_since: dict[int, float] = {}
        self._threads = [
            threading.Thread(target=self._run, args=(caller,), name=f"caller-{caller}", daemon=True)
            for caller in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for rig in self._rigs:
            rig.source.close()
        self._join(_GRACE)
        for client in self._clients:
            client.close()

    def finish(self, patience: float) -> None:
        """Let every caller finish the call that it is in, for up to ``patience`` seconds, and make no other."""
        self._over.set()
        self._join(patience)

    @property
    def tally(self) -> Tally:
        """The counts so far."""
        now = time.monotonic()
        with self._lock:
            waiting = sum(now - since > _LONG for since in self._calling_since.values())
            return Tally(self._served, waiting, tuple(self._failures.most_common()))

    def _join(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _run(self, caller: int) -> None:
        client = self._clients[caller % len(self._clients)]
        pause = _PAUSE * (1 + (caller % _PACES) / (2 * _PACES))
        number = 0
        while not self._over.is_set():
            with self._lock:
                self._calling_since[caller] = time.monotonic()
            failure = _called(client, f"{caller}-{number}")
            with self._lock:
                del self._calling_since[caller]
                self._served += failure is None
                if failure is not None:
                    self._failures[failure] += 1
            number += 1
            self._over.wait(pause if failure is None else _PAUSE_AFTER_FAILURE)


def _called(client: httpx.Client, name: str) -> str | None:
    """Make one call. Returns what it failed with, or None.

    A LocalProtocolError says that the source was closed meanwhile, since the demo was interrupted.
    """
    try:
        response = client.get("/users", headers={"X-Request-Id": name})
    except (TokenUnavailable, LocalProtocolError, httpx.HTTPError) as error:
        return type(error).__name__
    return None if response.is_success else f"HTTP {response.status_code}"
