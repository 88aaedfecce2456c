"""Coordinator: one machine, many waiters of any runtime, and the only lock that they share.

The lock is held for microseconds: for one step of the machine, never over a yield, an await, a callback or a
socket. Waiting is not done here. A waiter leaves a *waker*, a callable that may be called from any thread, and is woken
once after the next input; then it asks again. So threads, event loops and trio runs share one coordinator without
knowing of each other.
"""

from __future__ import annotations

import contextvars
import math
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from evertoken import (
    Abandoned,
    BlockKind,
    Challenge,
    ClientCredentials,
    Explanation,
    GiveUp,
    HttpResponse,
    LocalProtocolError,
    Outcome,
    Policy,
    Problem,
    ProblemKind,
    Ready,
    Rejection,
    SendRequest,
    Signing,
    TokenMachine,
    TokenRequest,
    TokenUnavailable,
    Wait,
    WaitReason,
    next_move,
)
from evertoken._checks import WrongArgument, check_type, fault_of_authorization
from evertoken._look import why_send
from evertoken._secrecy import Hidden, Unpicklable
from evertoken.happenings import RequestStarted as RequestClaimed
from evertoken_transports._clock import Clock, suspend_aware_clock
from evertoken_transports._events import (
    CallFailed,
    CallWaited,
    Event,
    EventCallback,
    RequestStarted,
    StoreReported,
    bound,
    check_on_event,
    events_of,
    log,
    tell,
)
from evertoken_transports._exchange import Exchange
from evertoken_transports._inside import is_inside, is_telling, step, telling
from evertoken_transports._progress import Progress
from evertoken_transports._registry import Registry

_T = TypeVar("_T")

Waker = Callable[[], object]
"""What wakes one waiter. It may be called from any thread, and whoever is woken asks again."""

Answer = tuple[Ready | GiveUp | Wait, TokenRequest | None]
"""What one caller does next, and the claimed request that it must see carried first, if any."""

_MISPLACED = Problem(
    ProblemKind.BUG,
    "A token was asked for by code that interrupts a step of the token machine: a __del__ method, the end of a dropped"
    " generator or a signal handler. It cannot wait there",
    "Let such code hand its work to a thread or a queue; or ask again a moment later.",
)


_UNCARRIED = Problem(
    ProblemKind.BUG,
    "A token was asked for by an on_event callback that is called before the request is on its way, so that it would"
    " wait for itself",
    "Let callbacks hand what takes long to a thread or a queue, or ask by authorization_nowait().",
)


_NO_PROGRESS = Progress()
_NOBODY = (None, 0, 0)
"""The ``_claimant`` of a coordinator while no request is claimed and not yet carried."""
_NO_TROUBLES: Mapping[str, str] = {}
_MOMENT = 0.1
"""Seconds that a thread waits while another one tells earlier news, so that its own comes after that."""


class Subscriber(Protocol):
    """What a coordinator keeps up to date: a source.

    It is held weakly, so that a source which nobody uses any more is forgotten.
    """

    on_event: EventCallback | None

    @property
    def closed(self) -> bool:
        """Whether it is to be told of no event any more."""
        ...

    def _republish(self, quiet_until: float, header: str | None) -> None:
        """Before ``quiet_until``, ``header`` is good and nothing needs doing. Called under the lock: only keep it."""
        ...

    def _forked(self) -> None:
        """Called in a forked child, where the threads and tasks that this source has started do not exist.

        The fork may have come in the midst of :meth:`_republish`, so what that has written cannot be relied on.
        """
        ...


class _News:
    """The events of one step, told once: by the first thread that calls this, in the context of the step's caller.

    The events of a claim are not told before its request is on its way, since a callback that blocks would hold the
    request up.
    """

    __slots__ = ("_tell", "_told")

    def __init__(self, events: list[Event], callbacks: list[EventCallback]) -> None:
        here = contextvars.copy_context()
        self._tell: list[Callable[[], None]] = [lambda: here.run(_tell_all, events, callbacks)]
        self._told = threading.Event()

    def __call__(self) -> None:
        """Tell the events. Where another thread is telling them, wait a moment, so that later news comes after them."""
        try:
            say = self._tell.pop()
        except IndexError:
            if not is_telling():
                self._told.wait(_MOMENT)
            return
        try:
            say()
        finally:
            self._told.set()


def _tell_all(events: list[Event], callbacks: list[EventCallback]) -> None:
    with telling():
        for event in events:
            log(event)
            for callback in callbacks:
                tell(callback, event)


class Told(Protocol):
    """What a grant's ``secret_source`` gave, in a value that does not show it to whoever prints local variables."""

    @property
    def text(self) -> str:
        """The secret itself."""
        ...


class Coordinator(Unpicklable):
    """Runs one :class:`~evertoken.TokenMachine` for any number of sources.

    Args:
        machine: the machine; from now on only this coordinator may feed it.
        clock: seconds as float, never backwards. Exchanges measure ``request.deadline`` on the same clock. The default
            goes on during suspend.
        wall: Unix time, for :attr:`Token.expires_at <evertoken_transports.Token>` alone. It may be set at any time.
        on_event: called with each :data:`~evertoken_transports.Event`, outside the lock, in whichever thread made it
            happen. It must be quick and must not block: where that thread carries the token request too (with
            ``background=False``, ``keep_warm`` or a store), the request waits for it. What it raises is logged and
            otherwise ignored.

    Raises TypeError, which names the argument, for one of another type.

    Safe to use from any thread. After ``os.fork`` the child has a lock of its own, no waiters, and the parent's request
    counts as abandoned there. Code that interrupts a step of its own thread (``__del__``, the ``finally`` of a dropped
    generator, a signal handler) cannot wait: it gets the token in hand or an error, and what it reports counts after
    that step. A copy of a coordinator is the coordinator itself.
    """

    def __init__(
        self,
        machine: TokenMachine,
        *,
        clock: Clock = suspend_aware_clock,
        wall: Clock = time.time,
        on_event: EventCallback | None = None,
    ) -> None:
        check_type("machine", machine, TokenMachine)
        for name, function in (("clock", clock), ("wall", wall)):
            if not callable(function):
                raise TypeError(f"{name} must be a function that returns seconds, not {type(function).__name__}")
        check_on_event(on_event)
        self.machine = machine
        self.clock = clock
        self.wall = wall
        self.stores: tuple[Hashable, ...] = ()
        """The shared stores on the way to the endpoint, the nearest first, if :meth:`shared` made this coordinator."""
        self.asking: list[object] = []
        """A mark for each call for the client's secret that has not come back."""
        self._on_event = None if on_event is None else bound(on_event, self)
        self._lock = threading.RLock()
        # Lists, since a program may have a coordinator for each of its tenants, and an empty deque takes 760 bytes.
        self._subscribers: list[weakref.ref[Subscriber]] = []
        self._last_published: object = None
        """What the subscribers were told last, so that they are told of changes alone; None if they must be told."""
        self._wakers: dict[Waker, None] = {}
        """Those of callers who wait for the next input."""
        self._due: list[Waker] = []
        """Those of callers who waited for an input that has come, and who have not been woken yet."""
        self._claimant: tuple[Waker | None, int, int] = _NOBODY
        """Who claimed the request that nobody carries yet: the waker, the request's number, the thread's number.

        One is enough, since a machine has one request at a time.
        """
        self._claimed_news: _News | None = None
        """The events of the latest claim, which are told once its request is on its way."""
        self._late: list[Callable[[], object]] = []
        """Steps that :meth:`_catch_up` is to do: those of callers who have gone, and those that were put off."""
        self._progress = _NO_PROGRESS
        """How far the request has come that is being carried."""
        self._troubles: Mapping[str, str] = _NO_TROUBLES
        """What is wrong with each store that was in trouble when it was last called, by the store's name.

        Replaced as a whole, so that it can be read without the lock.
        """
        _all.add(self)

    def __repr__(self) -> str:
        machine = getattr(self, "machine", None)  # Not there yet if a wrong argument stopped the making.
        by = "".join(f", shared by {_shown(each)}" for each in getattr(self, "stores", ()))
        return f"<Coordinator of {machine!r}{by}>"

    @classmethod
    def shared(cls, grant: ClientCredentials, policy: Policy, stores: tuple[Hashable, ...] = ()) -> Coordinator:
        """The process-wide coordinator of this grant and policy: equal arguments, one machine.

        ``stores`` are the shared stores on the way to the endpoint, the nearest first.

        This is what makes an auth object per request, or per view, cost one token request in all, for any number of
        grants. A coordinator that nobody uses any more is kept for as long as forgetting it would cost something: while
        its token lives, the endpoint is not to be asked, or its budget is not full. One that has learnt of failures,
        blocks or a new secret is kept for a day after the last thing that happened to it.

        Raises TypeError, which names the argument, for one of another type.
        """
        check_type("grant", grant, ClientCredentials)
        check_type("policy", policy, Policy)
        check_type("stores", stores, tuple)
        return _registry.get(grant, policy, stores)

    # For those who wait
    # ------------------

    def _claim_or_wait(
        self, waker: Waker, *, since: float = 0.0, deadline: float | None = None, min_ttl: float = 0.0
    ) -> Answer:
        """What a caller should do who came at ``since`` and can wait until ``deadline``, both on :attr:`clock`.

        If a request is due, this claims it and spends budget: the request is returned with a ``Wait`` for its answer,
        or with ``Ready`` where the token in hand is good. With a ``Wait``, ``waker`` is registered in the same step: it
        is called once after the next input, and the caller asks again then, or when ``Wait.until`` has passed. Without
        a ``deadline`` the caller only looks, or waits for whatever comes next, and is registered in any case.

        See :meth:`_departure` for a caller that is interrupted.
        """
        if self._is_inside():
            held = self.machine.token(self.clock(), min_ttl)
            return (GiveUp(TokenUnavailable(_MISPLACED)) if held is None else Ready(held)), None
        self._catch_up()
        answer = self._do(lambda: self._claimed_or_waits(waker, since, deadline, min_ttl), wakes=False)
        self._catch_up()
        return answer

    def _departure(self, waker: Waker) -> Callable[[], object]:
        """A function for the ``finally`` of the caller behind ``waker``: it notes that this caller has gone.

        The caller must call :meth:`_catch_up` after it. With that, the caller no longer waits, and a request that it
        has claimed and that nobody carries is given back. The function is made of C alone, so that no interruption
        comes between its being called and its being done. To call it twice is harmless.
        """
        return partial(self._late.append, partial(self._forget, waker))

    def _catch_up(self) -> None:
        """Do the steps that any thread has put off, here and in other coordinators; wake those who are still due."""
        one = self
        while one._late or one._due or _behind:
            if one._is_inside():
                _behind.append(one)
                return
            if one._late:
                one._do(one._do_late)
            one._wake()
            if not one._late:
                with suppress(IndexError):
                    one = _behind.popleft()

    def _took(self, request: TokenRequest) -> Progress | None:
        """Note that ``request`` is being carried: from now on its carrier reports the outcome, whoever departs.

        Returns the note in which the carrier keeps how far the request has come. None if the request must not be sent,
        because it was given back or counts as lost already.
        """
        self._catch_up()
        with self._lock, step():
            attempt = self.machine.state_value.attempt
            if attempt is None or attempt.id != request.id:
                return None
            self._claimant = _NOBODY
            if self._progress.attempt != request.id:
                self._progress = Progress(request.id, self)
            return self._progress

    def _wake_all(self) -> None:
        """Make every waiter ask again, as after an input."""
        self._later(self._take_wakers)

    def next_deadline(self) -> float:
        """When something will next be worth doing, on :attr:`clock`: now, if a token request is due already.

        For embedders with a timer of their own. The answer may change after any input.
        """
        self._catch_up()
        now = self.clock()
        action = self.machine.poll(now)
        return action.until if isinstance(action, Wait) else now

    def explain(self) -> Explanation:
        """The machine's own account of its state, and what is known of the stores that share its token.

        See :meth:`evertoken.TokenMachine.explain`.
        """
        self._catch_up()
        explanation = self.machine.explain(self.clock())
        if not self.machine.tiers:
            return explanation
        return replace(explanation, store=" ".join(self._troubles.values()) or "no trouble known")

    # For those who carry a request
    # -----------------------------

    def receive_response(self, request: TokenRequest, response: HttpResponse, again: Told | None = None) -> Outcome:
        """The exchange brought an answer; see :meth:`evertoken.TokenMachine.receive_response`.

        ``again`` is what the grant's ``secret_source`` gave when it was asked once more, after a refusal. If that is
        another secret than the refused one, it takes its place in the same step, so that no caller is told of the
        refusal. Events tell of both.
        """
        outcome = self.machine.read_response(request, response)  # Not under the lock: an answer can be long.

        def receive() -> Outcome:
            told = self._answer(request, outcome, response)
            asked = None if request.grant is None else request.grant.secret_source
            if again is not None and self.machine.grant.secret_source == asked:
                happenings = self.machine.happenings
                self.machine.replace_credentials(self.clock(), self.machine.grant.with_secret(again.text))
                self.machine.happenings = happenings + self.machine.happenings
            return told

        return self._feed(receive, outcome)

    def secret_told(self, request: TokenRequest, secret: str) -> TokenRequest | None:
        """The grant's ``secret_source`` gave ``secret``; see :meth:`evertoken.TokenMachine.secret_told`."""
        hidden = Hidden(secret)
        del secret  # A clock or a callback may raise, and error trackers show local variables.

        def tell() -> TokenRequest | None:
            signing = self._signing() if self.machine.grant.needs_signing else None
            return self.machine.secret_told(self.clock(), request, hidden.reveal(), signing=signing)

        return self._feed(tell, None)

    def secret_failed(self, request: TokenRequest, reason: str | Outcome) -> Outcome:
        """The client's secret could not be had; see :meth:`evertoken.TokenMachine.secret_failed`."""
        outcome = reason if isinstance(reason, Outcome) else self.machine.read_no_secret(request, reason)
        del reason
        return self._feed(lambda: self.machine.secret_failed(self.clock(), request, outcome), outcome)

    def send_failed(self, request: TokenRequest, reason: str | Outcome) -> Outcome:
        """The exchange brought no answer; see :meth:`evertoken.TokenMachine.send_failed`.

        ``reason`` is for people, or is what ``TokenMachine.read_failure`` made of a text for people.
        """
        outcome = reason if isinstance(reason, Outcome) else self.machine.read_failure(request, reason)
        del reason  # It may quote a secret.
        return self._feed(lambda: self._answer(request, outcome), outcome)

    def request_abandoned(self, request: TokenRequest) -> Outcome:
        """Whoever carried the request gave up; see :meth:`evertoken.TokenMachine.request_abandoned`."""
        outcome: Outcome = Abandoned()
        return self._feed(lambda: self._answer(request, outcome), outcome)

    def request_postponed(self, request: TokenRequest, until: float, problem: Problem | None = None) -> None:
        """Nothing was sent, since another process is asking, or none may before ``until``, which is on :attr:`clock`.

        See :meth:`evertoken.TokenMachine.request_postponed`.
        """

        def postpone() -> None:
            self.machine.request_postponed(self.clock(), request, until, problem)

        self._feed(postpone, None)

    # News from elsewhere
    # -------------------

    def token_rejected(self, authorization: str, challenge: Challenge) -> Rejection:
        """An API refused a call that carried ``authorization``; see :meth:`evertoken.TokenMachine.token_rejected`.

        Code that interrupts a step of its own thread gets KEPT, and the rejection counts after that step.
        """
        hidden, fault = Hidden(authorization), fault_of_authorization(authorization)
        del authorization  # A clock or a callback may raise, and error trackers show local variables.
        if fault is not None:
            raise LocalProtocolError(fault)
        return self._feed(lambda: self.machine.token_rejected(self.clock(), hidden.reveal(), challenge), Rejection.KEPT)

    def token_worked(self, authorization: str) -> None:
        """An API served a call that carried ``authorization``; see :meth:`evertoken.TokenMachine.token_worked`."""
        hidden, fault = Hidden(authorization), fault_of_authorization(authorization)
        del authorization
        if fault is not None:
            raise LocalProtocolError(fault)
        self._feed(lambda: self.machine.token_worked(self.clock(), hidden.reveal()), None)

    def endpoint_blocked(self, kind: BlockKind, seconds: float | None = None) -> None:
        """The token endpoint is not to be asked; see :meth:`evertoken.TokenMachine.endpoint_blocked`."""
        self._feed(lambda: self.machine.endpoint_blocked(self.clock(), kind, seconds), None)

    def replace_credentials(self, credentials: ClientCredentials) -> None:
        """Use another secret; see :meth:`evertoken.TokenMachine.replace_credentials`.

        If :meth:`shared` made this coordinator, it finds it by the grant with the new secret, too.
        """

        def replace() -> None:
            old = self.machine.grant
            self.machine.replace_credentials(self.clock(), credentials)
            if self.machine.grant != old:
                _registry.add_name(self, old, credentials)

        self._feed(replace, None)

    def lift_block(self) -> None:
        """The operator has mended the cause of a block; see :meth:`evertoken.TokenMachine.lift_block`."""
        self._feed(lambda: self.machine.lift_block(self.clock()), None)

    # For sources
    # -----------

    def _subscribe(self, subscriber: Subscriber) -> None:
        """Keep ``subscriber`` up to date, and tell it of every event, for as long as somebody keeps it alive."""

        def subscribe() -> None:
            self._subscribers.append(weakref.ref(subscriber))
            if not (count := len(self._subscribers)) & (count - 1):  # Only at powers of two, so that it costs little.
                self._subscribers = [known for known in self._subscribers if known() is not None]
            subscriber._republish(*self.machine.published)

        self._later(subscribe)

    def _bring_up_to_date(self, subscriber: Subscriber) -> None:
        """Tell ``subscriber`` again what it was told last: it may have had no use for that when it was told."""
        self._later(lambda: subscriber._republish(*self.machine.published))

    def _expect(self, waker: Waker) -> None:
        """Note that a thread or a task is being started, and will ask by ``waker``.

        Only the coordinators of tests do something here: their time does not pass before it has asked.
        """

    def _check_tiers(self, stores: int) -> None:
        """Raise ValueError if the machine does not know of as many stores as there are."""
        tiers = self.machine.tiers
        if tiers != stores:
            raise ValueError(
                f"coordinator: its machine was made for {tiers} shared stores on the way to the endpoint, and here are "
                f"{stores}: make it by TokenMachine(..., tiers={stores}), or leave it out"
            )

    def _stand_in(self, exchange: _T) -> _T:
        """The exchange of a source that was given ``exchange``: that one, except in tests."""
        return exchange

    def _stand_in_thread(self, exchange: Exchange) -> Exchange | None:
        """The exchange by which threads carry requests for a source of an event loop: that one, except in tests.

        In tests it is None, so that tasks carry all requests.
        """
        return exchange

    def _signing(self) -> Signing:
        """The time and the entropy that a client authentication which signs needs."""
        return Signing(time.time(), os.urandom(16))

    # Told while a request is carried
    # -------------------------------

    def _store_noted(self, note: str) -> None:
        """Tell everybody that a store is in trouble or holds what was not believed, as ``note`` says."""
        self._tell(StoreReported(self.machine.grant.client_id, note))

    def _store_found(self, name: str, trouble: str) -> None:
        """Keep the ``trouble`` of the store called ``name`` for errors and explanations; an empty one means none."""
        self._troubles = {each: text for each, text in {**self._troubles, name: trouble}.items() if text}

    def _endpoint_asked(self, attempt: int) -> None:
        """Tell everybody that no store had an answer for ``attempt``, so that the endpoint is asked."""
        self._tell(RequestStarted(self.machine.grant.client_id, attempt, why_send(self.machine.state_value)))

    def _call_ended(self, since: float, problem: Problem | None = None) -> None:
        """Tell everybody of a caller who came at ``since``, and has waited for a token or gets ``problem`` instead."""
        if not self._is_inside():
            client, seconds = self.machine.grant.client_id, max(0.0, self.clock() - since)
            self._tell(CallWaited(client, seconds) if problem is None else CallFailed(client, seconds, problem))

    def _tell(self, event: Event) -> None:
        with self._lock, step():
            callbacks = self._callbacks()
        _tell_all([event], callbacks)

    # In a step, and after it
    # -----------------------

    def _do(self, act: Callable[[], _T], *, wakes: bool = True) -> _T:
        """One step: ``act`` under the lock; then wake the waiters, if anything has changed, and tell of the events.

        Subscribers are brought up to date before anybody is woken. The lock makes one step of a look at the machine and
        the claim that follows from the look. That there is never a second request is a rule of the machine, not of the
        lock.
        """
        with self._lock, step():
            state, told = self.machine.state_value, self.machine.happenings
            result = act()
            self._publish()
            happenings = () if self.machine.happenings is told else self.machine.happenings
            if wakes and (happenings or self.machine.state_value is not state):
                self._take_wakers()
            events = events_of(self.machine.grant.client_id, self.machine.state_value, happenings) if happenings else []
            news = _News(events, self._callbacks()) if events else None
            earlier = self._claimed_news
            is_claim = RequestClaimed in [type(happening) for happening in happenings]
            if news is not None:
                self._claimed_news = news if is_claim else None
        self._wake()
        if news is not None and earlier is not None:
            earlier()
        if news is not None and not is_claim:
            news()
        return result

    def _tell_of_claim(self) -> None:
        """Tell of the latest claim, because its request is on its way or this thread is about to carry it."""
        news = self._claimed_news
        if news is not None:
            news()
            if self._claimed_news is news:
                self._claimed_news = None

    def _feed(self, act: Callable[[], _T], meanwhile: _T) -> _T:
        """One input. Code that interrupts a step of its own thread gets ``meanwhile``, and the input is put off."""
        if self._is_inside():
            self._later(act)
            return meanwhile
        self._catch_up()
        result = self._do(act)
        self._catch_up()
        return result

    def _later(self, act: Callable[[], object]) -> None:
        """Do the step ``act`` once this thread is in the midst of no other: at once, as a rule.

        The garbage collector may end a waiter or a carrier at any allocation, also while this very thread is inside a
        step. What was done at once there would be overwritten when that step ends. To wait there for the lock of
        another coordinator could last for ever, since the thread that holds it may be waiting for this one.
        """
        self._late.append(act)
        self._catch_up()

    def _wake(self) -> None:
        """Call the wakers that are due. One whose event loop is closed raises, and must not keep the others from it."""
        while self._due:
            with suppress(IndexError, ValueError):  # Another thread may be at it, too: to be woken twice is harmless.
                waker = self._due[0]
                with suppress(Exception):
                    waker()
                self._due.remove(waker)

    def _is_inside(self) -> bool:
        """Whether this very thread is in the midst of a step, of this coordinator or of another."""
        return is_inside() or bool(cast("Any", self._lock)._is_owned())  # threading.Condition asks its lock likewise.

    # Under the lock
    # --------------

    def _do_late(self) -> None:
        """Do the first of the steps that were put off, and then take it from the list."""
        if self._late:  # Another thread may have been here first.
            with suppress(LocalProtocolError, TypeError, ValueError):  # A wrong input, and nobody to tell.
                self._late[0]()
            del self._late[:1]  # Last: a thread that is interrupted loses nothing, and to do it twice is harmless.

    def _claimed_or_waits(self, waker: Waker, since: float, deadline: float | None, min_ttl: float) -> Answer:
        until = math.inf if deadline is None else deadline
        answer, request = self._claimed(waker, since, until, min_ttl)
        if deadline is None or isinstance(answer, Wait):
            self._wakers[waker] = None
        return answer, request

    def _claimed(self, waker: Waker, since: float, deadline: float, min_ttl: float) -> Answer:
        now = self.clock()
        move = next_move(self.machine, now, since=since, deadline=deadline, min_ttl=min_ttl)
        answer = self._with_troubles(self._progress.told(self.machine, now, move))
        if isinstance(answer, Ready):
            claimed = None if isinstance(self.machine.poll(now), Wait) else self._claim(waker, now, 0.0)
            # If the request cannot be built, this caller has a token all the same; one who needs it is told why.
            return answer, claimed if isinstance(claimed, TokenRequest) else None
        if not isinstance(answer, SendRequest):
            return self._unless_by_itself(answer), None
        claimed = self._claim(waker, now, min_ttl)
        if isinstance(claimed, Problem):
            return GiveUp(TokenUnavailable(claimed)), None
        return Wait(min(claimed.deadline, deadline), WaitReason.RESPONSE), claimed

    def _unless_by_itself(self, answer: Ready | GiveUp | Wait) -> Ready | GiveUp | Wait:
        """``answer``; an error instead, where a callback would wait for a request that its own thread is to send."""
        _, thread = self._uncarried()
        waits = isinstance(answer, Wait) and thread == threading.get_ident()
        return GiveUp(TokenUnavailable(_UNCARRIED)) if waits and is_telling() else answer

    def _with_troubles(self, answer: _T) -> _T | GiveUp:
        """``answer``; if the caller is to give up, the error says also what is wrong with the stores."""
        if not isinstance(answer, GiveUp) or not self._troubles:
            return answer
        error = answer.error
        advice = " ".join(filter(None, (error.problem.advice, *self._troubles.values())))
        return GiveUp(type(error)(replace(error.problem, advice=advice), error.retry_after))

    def _claim(self, waker: Waker, now: float, min_ttl: float) -> TokenRequest | Problem:
        # Noted first, with the number that the request will have: a caller who is interrupted in the midst of the claim
        # gives back by it what it got.
        self._claimant = (waker, self.machine.state_value.next_id, threading.get_ident())
        try:
            if self.machine.grant.needs_signing:
                return self.machine.start_request(now, min_ttl, signing=self._signing())
            return self.machine.start_request(now, min_ttl)
        except Exception as error:  # noqa: BLE001 (the embedder's own client authentication runs in there)
            said = f"TypeError: {error}" if isinstance(error, WrongArgument) else type(error).__name__
            return Problem(
                ProblemKind.TRANSPORT,
                f"The token request could not be built: the client authentication raised {said}",
                "Mend ClientAuthentication.authenticate; what it raises is not shown here, as it may hold a secret.",
            )

    def _forget(self, waker: Waker) -> None:
        """The caller behind ``waker`` has gone: it waits no longer, and gives back a request that nobody carries."""
        self._wakers.pop(waker, None)
        claimant, _ = self._uncarried()
        if claimant == waker:
            self._answer(self._handle(self._claimant[1]), Abandoned())

    def _uncarried(self) -> tuple[Waker | None, int]:
        """The waker and the thread of the caller who claimed the request under way, if nobody carries that yet."""
        claimant, number, thread = self._claimant
        attempt = self.machine.state_value.attempt
        return (claimant, thread) if attempt is not None and attempt.id == number else (None, 0)

    def _answer(self, request: TokenRequest, outcome: Outcome, response: HttpResponse | None = None) -> Outcome:
        """Tell the machine of ``outcome``, which is what ``response`` means, if one has arrived."""
        now = self.clock()
        self._progress = _NO_PROGRESS
        if isinstance(outcome, Abandoned):
            return self.machine.request_abandoned(now, request)
        if response is None:
            return self.machine.send_failed(now, request, outcome)
        return self.machine.receive_response(now, request, outcome, response.seen)

    def _handle(self, number: int) -> TokenRequest:
        """A request with this number, to report an outcome where nobody has the real one in hand."""
        url, owner = self.machine.grant.endpoint.url, self.machine.owner
        return TokenRequest(number, "POST", url, (), b"", 0.0, owner=owner)

    def _publish(self) -> None:
        """See to it that every subscriber has what follows from the state."""
        published = self.machine.published
        if published is not self._last_published:
            for subscriber in self._live_subscribers():
                subscriber._republish(*published)
            self._last_published = published

    def _live_subscribers(self) -> list[Subscriber]:
        return [subscriber for known in self._subscribers if (subscriber := known()) is not None]

    def _callbacks(self) -> list[EventCallback]:
        """The callbacks that are told of events. One that two sources have is told once."""
        callbacks = [] if self._on_event is None else [self._on_event]
        for subscriber in self._live_subscribers():
            callback = None if subscriber.closed else subscriber.on_event
            if callback is not None and callback not in callbacks:
                callbacks.append(callback)
        return callbacks

    def _take_wakers(self) -> None:
        """Move those who wait to those who are to be woken."""
        # Each in a partial of its own, which equals no other: so _wake takes away the very one that it has called, and
        # not one that the same waiter has registered since.
        self._due.extend(map(partial, self._wakers))
        self._wakers.clear()

    # In a forked child
    # -----------------

    def _after_fork_in_child(self) -> None:
        """Begin anew in a forked child, where the thread that holds the lock or carries the request may not exist.

        No code of an embedder is called now: its clock, for example, may belong to an event loop that is not here
        either. The first caller gives the request back, before anything else, and brings every subscriber up to date.
        """
        self._lock = threading.RLock()
        self.asking = []
        self._wakers = {}
        self._due.clear()
        self._claimed_news = None
        self._claimant = _NOBODY
        self._last_published = None
        attempt = self.machine.state_value.attempt
        self._late.append(partial(self._answer, self._handle(0 if attempt is None else attempt.id), Abandoned()))
        for subscriber in self._live_subscribers():
            subscriber._forked()


_all: weakref.WeakSet[Coordinator] = weakref.WeakSet()
"""Every coordinator of this process, to be put right in a forked child."""
_behind: deque[Coordinator] = deque()
"""Those for which something was put off because its thread was in the midst of a step, theirs or another's."""


def _shown(store: object) -> str:
    """The repr of one of ``stores``: of a store, or of the store in a tuple with its keys and settings."""
    return repr(cast("tuple[object, ...]", store)[0] if isinstance(store, tuple) else store)


def _made(grant: ClientCredentials, policy: Policy, stores: tuple[Hashable, ...]) -> Coordinator:
    made = Coordinator(TokenMachine(grant, policy=policy, draw=random.random, tiers=len(stores)))
    made.stores = stores
    return made


_registry = Registry(_made, lambda coordinator: bool(coordinator._live_subscribers()))


def _after_fork_in_child() -> None:
    for coordinator in list(_all):
        with suppress(Exception):  # One that cannot be mended must not cost the others their locks.
            coordinator._after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
