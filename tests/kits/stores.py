"""A store in memory, in which anything can be made to go wrong, and an endpoint that counts."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable

import trio

from evertoken import HttpResponse, TokenRequest
from evertoken.sharing import Found, StoreTrouble, Swapped
from evertoken_transports._runtime import runtime
from tests.kits import canary
from tests.kits.worlds import LIMIT

__all__ = ("Counting", "MemoryStore", "a_moment")


class MemoryStore:
    """A store in memory. While ``trouble`` is set, calls raise it; while ``gate`` is not set, they are held back."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.calls: list[str] = []
        self.trouble: Exception | None = None
        self.fails: Callable[[str], bool] = lambda _: True
        """Which calls ``trouble`` befalls: "load" or "swap"."""
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.closed = False
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    def load(self, key: str, /, *, timeout: float) -> Found:
        self._begin("load")
        with self._lock:
            return Found(self.values.get(key), time.time())

    def swap(
        self,
        key: str,
        expected: bytes | None,
        value: bytes | None,
        /,
        *,
        lasts: float,
        holder: str = "",
        timeout: float,
    ) -> Swapped:
        self._begin("swap")
        with self._lock:
            done = self.values.get(key) == expected
            if done and value is None:
                self.values.pop(key, None)
            elif done and value is not None:
                self.values[key] = value
            swapped = Swapped(done, Found(self.values.get(key), time.time()))
        for callback in list(self._callbacks) if done else []:
            callback()
        return swapped

    def subscribe(self, key: str, callback: Callable[[], None], /) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def close(self) -> None:
        self.closed = True

    @property
    def subscribers(self) -> int:
        return len(self._callbacks)

    def is_leased(self) -> bool:
        """Whether a record says that somebody asks."""
        return any(json.loads(value).get("lease") for value in self.values.values())

    def fail(self, text: str = "the store is on fire: put it out") -> None:
        """Be in trouble until ``trouble`` is taken away."""
        self.trouble = StoreTrouble(text)

    def _begin(self, what: str) -> None:
        self.calls.append(what)
        self.entered.release()
        assert self.gate.wait(LIMIT)
        if self.trouble is not None and self.fails(what):
            raise self.trouble


class Counting:
    """An exchange of each kind that counts requests, and grants each a token unless ``answer`` or ``error`` is set."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: HttpResponse | None = None
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def blocking(self, _: TokenRequest, /) -> HttpResponse:
        self._begin()
        assert self.gate.wait(LIMIT)
        return self._end()

    async def awaiting(self, _: TokenRequest, /) -> HttpResponse:
        self._begin()
        while not self.gate.is_set():
            await a_moment()
        return self._end()

    def _begin(self) -> None:
        self.asked += 1
        self.entered.release()

    def _end(self) -> HttpResponse:
        if self.error is not None:
            raise self.error
        granted = {"access_token": canary.token(self.asked), "token_type": "Bearer", "expires_in": 1200}
        return self.answer or HttpResponse(200, (), json.dumps(granted).encode())


async def a_moment() -> None:
    """Let others have their turn, in whichever loop this is."""
    if runtime() == "trio":
        await trio.sleep(0.001)
    else:
        await asyncio.sleep(0.001)
