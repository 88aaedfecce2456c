"""What this process knows of a store, kept once for all exchanges that use it alike; and how the store is called."""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from inspect import iscoroutinefunction
from typing import Generic, TypeVar

from evertoken import BlockKind, ClientCredentials, HttpResponse, Policy, TokenRequest
from evertoken.sharing import (
    Acquire,
    Ask,
    Edit,
    Keep,
    Load,
    Release,
    Send,
    Sharing,
    Sleep,
    Store,
    StoreTrouble,
)
from evertoken_transports._blame import place_of
from evertoken_transports._clock import Clock
from evertoken_transports._events import write
from evertoken_transports._exchange import ExchangeBroken
from evertoken_transports._progress import progress
from evertoken_transports._threads import Caller, start_thread
from evertoken_transports.stores._cipher import Keys

_Doing = TypeVar("_Doing", Ask, Edit)

_AGAIN = 3_600.0
"""Seconds for which what was told of a store is not told again."""

_MOST_TOLD = 32
"""Notes that are remembered as told. Beyond that all are forgotten, so that texts which vary do not fill the memory."""

StoreCall = Load | Acquire | Keep | Release


class Known:
    """A store, what ``sharing`` remembers of it, and what people have been told of it."""

    def __init__(self, store: Store, sharing: Sharing) -> None:
        self.store, self.sharing = store, sharing
        self._told: dict[str, float] = {}

    def way(self, clock: Clock, request: TokenRequest) -> Way:
        """Begin the way of ``request`` through the store."""
        ask = self.sharing.ask(clock(), request, nonce=_nonce(), unix_time=time.time())
        return Way(self, ask, clock)

    def unblock(self, clock: Clock, grant: ClientCredentials, policy: Policy) -> Errand[Edit]:
        """Begin to lift the block that the store holds for ``grant``."""
        return Errand(self, self.sharing.unblock(clock(), grant, policy, nonce=_nonce()), clock)

    def block(
        self, clock: Clock, grant: ClientCredentials, policy: Policy, kind: BlockKind, seconds: float | None
    ) -> Errand[Edit]:
        """Begin to write a block of ``seconds`` for ``grant`` into the store; None leaves the length to ``policy``."""
        return Errand(self, self.sharing.block(clock(), grant, policy, kind, seconds, nonce=_nonce()), clock)

    def tell(self, note: str) -> None:
        """Tell people of ``note``, unless they have been told within the last hour.

        The coordinator of the request that is carried here tells them by an event, or else the log does.
        """
        now = time.monotonic()
        if now - self._told.get(note, -_AGAIN) < _AGAIN:
            return
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told[note] = now
        if not progress().tell(note):
            write(logging.WARNING, "%s", note)


class Errand(Generic[_Doing]):
    """What is to be done at a store, step by step as ``ask`` says, in whichever thread calls."""

    def __init__(self, known: Known, ask: _Doing, clock: Clock) -> None:
        self.known, self.clock = known, clock
        self.ask: _Doing = ask
        self.trouble = ""
        """Why the last call of the store failed, for people; empty if it did not fail."""
        self._key = ""
        self._told = 0

    def call(self) -> None:
        """Do the call of the store that is to be done now, and tell ``ask`` what it returned, or that it raised."""
        try:
            tell = self._called()
        except Exception as error:  # noqa: BLE001 (a store of somebody else's may raise anything)
            self.trouble = _why(error)
            self.ask.store_failed(self.clock(), self.trouble)
        else:
            self.trouble = ""
            tell(self.clock())
        progress().found_store(repr(self.known.store), _sentence(self.trouble))
        self.tell()

    def _called(self) -> Callable[[float], object]:
        """Call the store, and return what tells ``ask`` of the answer, given the time after the call."""
        action, store = self.ask.action, self.known.store
        assert isinstance(action, StoreCall)  # noqa: S101 (for type checkers)
        self._key = action.key
        if isinstance(action, Load):
            found = store.load(action.key, timeout=action.timeout)
            return lambda now: self.ask.loaded(now, found)
        lasts, holder, timeout = action.lasts, action.holder, action.timeout
        done = store.swap(action.key, action.expected, action.value, lasts=lasts, holder=holder, timeout=timeout)
        return lambda now: self.ask.swapped(now, done)

    def tell(self) -> None:
        """Tell people the notes of ``ask`` that have come up since this was called last."""
        for note in self.ask.notes[self._told :]:
            self.known.tell(note)
        self._told = len(self.ask.notes)

    def calls(self) -> None:
        """Do the calls of the store that are to be done, until something else is to be done, or nothing more."""
        while isinstance(self.ask.action, StoreCall):
            self.call()


class Way(Errand[Ask]):
    """One request on its way through a store, with what can be done for it in a thread."""

    def __init__(self, known: Known, ask: Ask, clock: Clock) -> None:
        super().__init__(known, ask, clock)
        self._subscribed = False
        self._end: Callable[[], None] | None = None

    def answered(self, response: object) -> Exception | None:
        """The inner exchange returned ``response``. If that cannot be used, return what is to be raised."""
        wrong: Exception | None = None
        if not isinstance(response, HttpResponse):
            wrong = ExchangeBroken(f"the inner exchange returned {type(response).__name__}, not an HttpResponse")
        else:
            try:
                self.ask.answered(self.clock(), response)
            except Exception as error:  # noqa: BLE001 (a response that cannot be read)
                wrong = error
        if wrong is not None:
            self.ask.failed(self.clock())
        return wrong

    def subscribe(self, wake: Callable[[], object]) -> None:
        """Have ``wake`` called when the record may have changed, until :meth:`over`. Called again, it does nothing."""
        if not self._subscribed and self._key:
            self._subscribed = True
            try:
                self._end = self.known.store.subscribe(self._key, partial(_wake, wake))
            except Exception as error:  # noqa: BLE001 (the sleep ends by itself, and the store is looked into again)
                self.known.tell(_why(error))

    def over(self) -> None:
        """End the subscription, since nothing more is waited for here."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def leave(self) -> None:
        """Whoever carried the request is torn away: give the lease back, in a thread of its own.

        Where no thread can be started, the lease ends by its own time.
        """
        self.over()
        action = self.ask.action
        if isinstance(action, Send):
            self.ask.failed(self.clock())  # The request may have been sent.
        elif isinstance(action, Load | Acquire | Sleep):
            self.ask.given_up(self.clock())
        self._beside()  # If the endpoint has answered already, its answer is still worth keeping.

    def save(self) -> None:
        """Go on trying to keep the answer in the store, in a thread of its own: the caller has the answer already."""
        self.ask.save(self.clock())
        self._beside()

    def _beside(self) -> None:
        if isinstance(self.ask.action, StoreCall | Sleep):
            start_thread("evertoken-store", self._to_the_end)

    def _to_the_end(self) -> None:
        sleeper = Caller()
        while True:
            self.calls()
            if not isinstance(action := self.ask.action, Sleep):
                return
            sleeper.sleep(action.until - self.clock())
            self.ask.woken(self.clock())


def known(store: Store, *, behind: int, required: bool, keys: Keys) -> Known:
    """What this process knows of ``store``: the same object for equal stores that are used alike."""
    what = (store, behind, required, keys)
    with _lock:
        found = _all.get(what)
        if found is None:
            cipher = keys.cipher()
            host, draw = socket.gethostname(), random.random
            found = Known(store, Sharing(host=host, draw=draw, behind=behind, required=required, cipher=cipher))
            _all[what] = found
        return found


def check_store(store: object) -> None:
    """Raise TypeError, which says what to give instead, unless ``store`` can be a store."""
    if isinstance(store, type):
        raise TypeError(f"store must be a store, not the class {store.__name__}: call it, as in {store.__name__}()")
    if not all(callable(getattr(store, name, None)) for name in ("load", "swap")):
        raise TypeError(
            f"store must be a FileStore, a RedisStore or an evertoken.sharing.Store of your own, not "
            f"{type(store).__name__}"
        )
    if getattr(store, "__hash__", None) is None:
        raise TypeError("store must be hashable: what is known of it is kept once for each process")
    if iscoroutinefunction(getattr(store, "load", None)):
        raise TypeError("store must be one that blocks: it is called in threads of its own")


def _nonce() -> str:
    """A random text. The operating system draws it, so that neither a fork nor a copy of a machine draws it again."""
    return os.urandom(16).hex()


def _wake(wake: Callable[[], object]) -> None:
    with suppress(Exception):  # A caller whose event loop is closed cannot be woken.
        wake()


def _why(error: Exception) -> str:
    if isinstance(error, StoreTrouble):
        return str(error)
    return f"the store failed by a bug, not by weather: {place_of(error)}"


def _sentence(trouble: str) -> str:
    return f"{trouble[0].upper()}{trouble[1:]}." if trouble else ""


def _make_lock_anew() -> None:
    global _lock  # noqa: PLW0603 (a thread of the parent may have held it, and is not in the forked child)
    _lock = threading.Lock()


_lock = threading.Lock()
_all: weakref.WeakValueDictionary[tuple[object, ...], Known] = weakref.WeakValueDictionary()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_make_lock_anew)
