"""Calling back with a token: for callers who must not wait, such as the plug-ins of gRPC and of Kafka's clients.

A callback is called exactly once, whatever becomes of the token, the source, the event loop and the other callbacks.
Under an event loop each waits in a task of its own. Elsewhere all of a source wait together, in one thread that lives
for as long as any of them waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from evertoken import (
    AccessToken,
    GiveUp,
    LocalProtocolError,
    Problem,
    ProblemKind,
    Ready,
    TokenRequest,
    TokenUnavailable,
)
from evertoken_transports._blame import place_of
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import call, write
from evertoken_transports._exchange import ExchangeFailed
from evertoken_transports._inside import step
from evertoken_transports._threads import Caller, start_thread
from evertoken_transports._token import Token

TokenCallback = Callable[[Token | TokenUnavailable], object]
"""What ``when_token`` of a source calls: once, from any thread, with one of the two. It must be quick."""

NO_THREAD = Problem(
    ProblemKind.TRANSPORT,
    "There is no token yet, and no thread could be started to wait for one: the interpreter is on its way out, or the"
    " limit of threads is reached",
    "Ask ahead of need (warm_up), or wait with authorization().",
)
NO_LOOP = Problem(
    ProblemKind.BUG,
    "There is no token yet, and when_token was called outside the event loop that this source's exchange needs",
    "Call it in the loop, or use a source of evertoken_transports.threads with the same coordinator.",
)
_ENDED = Problem(
    ProblemKind.CALLER_TIMEOUT,
    "The event loop in which a callback waited for a token has ended",
    "Keep the loop for as long as calls need tokens; or use a source of evertoken_transports.threads.",
)


def told(callback: TokenCallback, came: Token | TokenUnavailable) -> None:
    """Call ``callback`` with ``came``. What it raises is logged, and troubles nobody else."""
    if isinstance(came, TokenUnavailable):
        came = came.with_traceback(None)
    call("the callback of when_token", callback, came)


def could_not_wait(error: BaseException) -> TokenUnavailable:
    """What a callback gets where ``error`` would be raised to a caller who waits."""
    if isinstance(error, TokenUnavailable):
        return error
    if isinstance(error, LocalProtocolError | ExchangeFailed):  # The source is closed, or a test lets nothing out.
        return TokenUnavailable(Problem(ProblemKind.BUG, str(error), "See to it that calls end before their source."))
    return TokenUnavailable(Problem(ProblemKind.BUG, f"Waiting for a token ended by a bug: {place_of(error)}"))


class LastCall:
    """Calls one callback exactly once: with the first result that comes, or with an error if none ever comes."""

    def __init__(self, callback: TokenCallback) -> None:
        self._callbacks = [callback]

    def tell(self, came: Token | TokenUnavailable) -> None:
        """Call the callback with ``came``, unless it has been called."""
        with suppress(IndexError):
            told(self._callbacks.pop(), came)

    def end(self) -> None:
        """Call the callback with an error, unless it has been called: the event loop has ended."""
        self.tell(TokenUnavailable(_ENDED))


@dataclass(frozen=True, eq=False, slots=True)
class _Entry:
    callback: TokenCallback
    since: float
    deadline: float


class Waiting:
    """The callbacks that wait outside an event loop, and the thread that waits for all of them.

    Args:
        coordinator: the one that the thread asks for a token.
        check_open: raises if the source is closed.
        carry: sends a request that the thread has claimed, or has it sent by another thread.
        token: makes of an AccessToken what a callback is given.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        check_open: Callable[[], None],
        carry: Callable[[TokenRequest], object],
        token: Callable[[AccessToken], Token],
    ) -> None:
        self._coordinator = coordinator
        self._check_open, self._carry, self._token = check_open, carry, token
        self._entries: dict[_Entry, None] = {}
        self._caller: Caller | None = None
        # An RLock, because a destructor may call add() in a thread that is in here at any point.
        self._lock = threading.RLock()

    def add(self, callback: TokenCallback, since: float, deadline: float) -> None:
        """Call ``callback``, which came at ``since``, by ``deadline``; both moments are on the coordinator's clock."""
        entry = _Entry(callback, since, deadline)
        with self._lock, step():
            self._entries[entry] = None
            waits = self._caller
            caller = self._caller = waits or Caller()
            self._coordinator._expect(caller.wake)
        if waits is not None:
            waits.wake()
        elif not start_thread("evertoken-when-token", self._run, caller):
            self._caller = None
            self._departs(caller)
            for left in list(self._entries):
                self._call(left, TokenUnavailable(NO_THREAD))

    def _run(self, caller: Caller) -> None:
        try:
            while not self._is_over():
                try:
                    seconds = self._round(caller)
                except BaseException as error:  # noqa: BLE001 (a clock's, say, or the end of the interpreter)
                    for entry in list(self._entries):
                        self._call(entry, could_not_wait(error))
                else:
                    caller.sleep(seconds)
        finally:
            self._departs(caller)

    def _is_over(self) -> bool:
        """Whether nobody waits any more, so that this thread ends. A callback that comes after that has a new one."""
        with self._lock, step():
            mine, self._caller = self._caller, None
            if self._entries:
                self._caller = mine
            return not self._entries

    def _round(self, caller: Caller) -> float:
        """Ask for each callback, and call those that need wait no longer. Returns in how many seconds to ask again.

        The callback with the earliest deadline is asked for last, since this thread must wake in time for that one: it
        sleeps by the last answer, and a simulated clock wakes it by that, too.
        """
        seconds = 0.0
        for entry in sorted(self._entries, key=lambda entry: entry.deadline, reverse=True):
            self._check_open()
            answer, request = self._coordinator._claim_or_wait(caller.wake, since=entry.since, deadline=entry.deadline)
            if request is not None:
                self._carry(request)
            if isinstance(answer, Ready):
                self._call(entry, self._token(answer.token))
                self._coordinator._call_ended(entry.since)
            elif isinstance(answer, GiveUp):
                self._call(entry, answer.error)
                self._coordinator._call_ended(entry.since, answer.error.problem)
            elif request is None:
                seconds = answer.until - self._coordinator.clock()
                continue
            return 0.0  # A call or a request takes time, after which the other answers are old.
        return seconds

    def _call(self, entry: _Entry, came: Token | TokenUnavailable) -> None:
        try:
            del self._entries[entry]
        except KeyError:  # After an interruption two threads may serve the same callbacks: the other has called it.
            return
        try:
            told(entry.callback, came)
        except BaseException as error:  # noqa: BLE001 (SystemExit: this thread is not one callback's to end)
            write(logging.ERROR, "the callback of when_token raised %s", type(error).__name__)

    def _departs(self, caller: Caller) -> None:
        self._coordinator._departure(caller.wake)()
        self._coordinator._catch_up()
