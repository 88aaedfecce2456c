"""Coordinator: one machine, many waiters of any runtime, and the only lock in the project.

The lock is held for microseconds: for one step of the machine, never over a yield, an await, a callback or a
socket. Waiting is not done here. A waiter leaves a *waker*, a callable that may be called from any thread, and is woken
once after the next input; then it asks again. So threads, event loops and trio runs share one, unknown to each other.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

from evertoken import (
    Abandoned,
    BlockKind,
    Challenge,
    ClientCredentials,
    Explanation,
    Freshness,
    GiveUp,
    HttpResponse,
    LocalProtocolError,
    Outcome,
    Policy,
    Problem,
    ProblemKind,
    Ready,
    Rejection,
    RequestState,
    SendRequest,
    State,
    TokenMachine,
    TokenRequest,
    TokenUnavailable,
    Wait,
    WaitReason,
    next_move,
)
from evertoken._checks import check_type, fault_of_authorization
from evertoken._secrecy import Hidden, Unpicklable
from evertoken_transports._clock import Clock, suspend_aware_clock
from evertoken_transports._events import Event, EventCallback, check_callback, events_of, log, tell, write
from evertoken_transports._exchange import Exchange
from evertoken_transports._moves import Move, Subscriber, Waker, wake
from evertoken_transports._progress import Progress

__all__ = ("Coordinator", "Move", "Subscriber", "Waker")

_T = TypeVar("_T")


class Coordinator(Unpicklable):
    """Runs one :class:`~evertoken.TokenMachine` for any number of sources.

    Args:
        machine: the machine; from now on only this coordinator may feed it.
        clock: seconds as float, never backwards, the same for all who share it. The default goes on during suspend.
        on_event: called with each :data:`~evertoken_transports.Event`, outside the lock, in whichever thread made it
            happen. It must be quick and must not block; what it raises is logged and otherwise ignored.

    Raises TypeError, which names the argument, for one of another type.

    Safe to use from any thread. After ``os.fork`` the child has a lock of its own, no waiters, and the parent's request
    counts as abandoned there. Do not call it from a signal handler: the handler could interrupt the holder of the lock.
    A copy of it is itself.
    """

    def __init__(
        self, machine: TokenMachine, *, clock: Clock = suspend_aware_clock, on_event: EventCallback | None = None
    ) -> None:
        check_type("machine", machine, TokenMachine)
        if not callable(clock):
            raise TypeError(f"clock must be a function that returns seconds, not {type(clock).__name__}")
        check_callback(on_event)
        self.machine = machine
        self.clock = clock
        self._on_event = on_event
        self._lock = threading.RLock()
        self._forgotten: deque[Waker] = deque()
        self._given_back: deque[TokenRequest] = deque()
        self._wakers: dict[Waker, None] = {}
        self._claims: dict[Waker, TokenRequest] = {}
        self._asking: dict[Waker, int] = {}
        self._taken = 0
        self._subscribers: weakref.WeakValueDictionary[int, Subscriber] = weakref.WeakValueDictionary()
        self._numbers = itertools.count()
        self.progress = Progress()
        """Of the request that was sent last; whoever carries one puts its own here."""
        self._last_request: TokenRequest | None = None
        self._last_published = machine.published
        _all.add(self)

    def __repr__(self) -> str:
        machine = getattr(self, "machine", None)  # Not there yet if a wrong argument stopped the making.
        return f"<Coordinator of {machine!r}>"

    @classmethod
    def shared(cls, grant: ClientCredentials, policy: Policy) -> Coordinator:
        """The process-wide coordinator of this grant and policy: equal arguments, one machine.

        This is what makes an auth object per request, or per view, cost one token request in all, for any number of
        grants. A coordinator that nobody uses any more is kept for as long as forgetting it would cost something: while
        its token lives, the endpoint is not to be asked, or its budget is not full, and a day after its last failure.
        """
        check_type("grant", grant, ClientCredentials)
        check_type("policy", policy, Policy)
        return _registry.get(grant, policy)

    # For those who wait
    # ------------------

    def ask(self, waker: Waker, *, since: float, deadline: float, min_ttl: float = 0.0) -> Move:
        """What a caller should do who came at ``since`` and can wait until ``deadline``, both on :attr:`clock`.

        With a ``Wait``, ``waker`` is registered in the same instant: it is called once after the next input, and the
        caller asks again then, or when ``Wait.until`` has passed. A claimed request comes with a ``Wait`` for its
        answer, or with ``Ready`` where the token in hand is good and the next one is due. :meth:`forget` in a
        ``finally`` makes sure that a claim is given back if the caller is interrupted before anybody :meth:`took` it.
        """
        self._forget_all()
        with self._lock:
            before = self.machine.state_value
            self._asking[waker] = before.next_id
            move = self._move(self.clock(), since, deadline, min_ttl)
            if isinstance(move.answer, Wait):
                self._wakers[waker] = None
            if move.request is not None:
                self._claims[waker] = move.request
            events = self._news(before)
            del self._asking[waker]
        self._forget_all()
        self._announce(events)
        return move

    def glance(
        self, waker: Waker, *, may_send: bool = True, may_wake: bool = False
    ) -> tuple[Ready | None, TokenRequest | None]:
        """The Authorization value if there is one now, and a claimed request if one is due and ``may_send``.

        ``waker`` stands for the caller as in :meth:`ask`; with ``may_wake`` it is called once after the next input.
        """
        self._forget_all()
        with self._lock:
            before = self.machine.state_value
            self._asking[waker] = before.next_id
            now = self.clock()
            token = self.machine.token(now)
            request = self._claim_if_due(now) if may_send else None
            if may_wake:
                self._wakers[waker] = None
            if request is not None:
                self._claims[waker] = request
            events = self._news(before)
            del self._asking[waker]
        self._announce(events)
        return (None if token is None else Ready(token.authorization)), request

    def forget(self, waker: Waker) -> None:
        """The caller behind ``waker`` has gone: it no longer waits, and a claim that nobody took is given back.

        Forgetting twice is harmless.
        """
        self._forgotten.append(waker)
        self._forget_all()

    def took(self, request: TokenRequest) -> bool:
        """Somebody carries ``request`` now and reports its outcome. False, and no sending, if it was given back."""
        self._forget_all()
        with self._lock:
            if request in self._claims.values():
                self._taken = request.id
                self._claims = {waker: claim for waker, claim in self._claims.items() if claim is not request}
            return self._taken == request.id

    def wake_all(self) -> None:
        """Make every waiter ask again, as after an input."""
        with self._lock:
            wakers = self._take_wakers()
        wake(wakers)

    def next_deadline(self) -> float:
        """When something will next be worth doing, on :attr:`clock`: now, if a token request is due already.

        For embedders with a timer of their own. The answer may change after any input.
        """
        self._forget_all()
        with self._lock:
            now = self.clock()
            action = self.machine.poll(now)
        return action.until if isinstance(action, Wait) else now

    def explain(self) -> Explanation:
        """The machine's own account of its state; see :meth:`evertoken.TokenMachine.explain`."""
        self._forget_all()
        with self._lock:
            return self.machine.explain(self.clock())

    # For those who carry a request
    # -----------------------------

    def receive_response(self, request: TokenRequest, response: HttpResponse) -> Outcome:
        """The exchange brought an answer."""
        outcome = self.machine.read_response(request, response)  # Not under the lock: an answer can be long.
        return self._feed(lambda now: self.machine.receive_response(now, request, outcome))

    def send_failed(self, request: TokenRequest, reason: str | Outcome) -> Outcome:
        """The exchange brought none; ``reason`` is for people, or is what ``read_failure`` made of it."""
        outcome = reason if isinstance(reason, Outcome) else self.machine.read_failure(request, reason)
        del reason  # It may quote a secret.
        return self._feed(lambda now: self.machine.send_failed(now, request, outcome))

    def request_abandoned(self, request: TokenRequest) -> Outcome:
        """The carrier was cancelled. If the collector ended it in the midst of a step, it counts after that step."""
        if self._is_inside():
            self._given_back.append(request)
            return Abandoned()
        return self._feed(lambda now: self.machine.request_abandoned(now, request))

    # News from elsewhere
    # -------------------

    def token_rejected(self, authorization: str, challenge: Challenge) -> Rejection:
        """An API refused a call that carried ``authorization``."""
        hidden, fault = Hidden(authorization), fault_of_authorization(authorization)
        del authorization  # A clock or a callback may raise, and error trackers show local variables.
        if fault is not None:
            raise LocalProtocolError(fault)
        return self._feed(lambda now: self.machine.token_rejected(now, hidden.reveal(), challenge))

    def token_worked(self, authorization: str) -> None:
        """An API served a call that carried ``authorization``."""
        hidden, fault = Hidden(authorization), fault_of_authorization(authorization)
        del authorization
        if fault is not None:
            raise LocalProtocolError(fault)
        self._feed(lambda now: self.machine.token_worked(now, hidden.reveal()))

    def endpoint_blocked(self, kind: BlockKind, seconds: float | None = None) -> None:
        """An API or a store says that the token endpoint is not to be asked."""
        self._feed(lambda now: self.machine.endpoint_blocked(now, kind, seconds))

    def replace_credentials(self, credentials: ClientCredentials) -> None:
        """Use another secret; see :meth:`evertoken.TokenMachine.replace_credentials`. The registry knows it then."""
        old = self.machine.grant
        self._feed(lambda now: self.machine.replace_credentials(now, credentials))
        if self.machine.grant != old:
            _registry.add_name(self, old, credentials)

    def lift_block(self) -> None:
        """The operator's word, after mending the cause."""
        self._feed(self.machine.lift_block)

    # For sources
    # -----------

    def subscribe(self, subscriber: Subscriber) -> None:
        """Keep ``subscriber`` up to date, and tell it of every event, for as long as somebody keeps it alive."""
        with self._lock:
            self._subscribers[next(self._numbers)] = subscriber
            self.bring_up_to_date(subscriber)

    def bring_up_to_date(self, subscriber: Subscriber) -> None:
        """Tell ``subscriber`` once more what it was told last."""
        with self._lock:
            subscriber.republish(*self.machine.published)

    def stand_in(self, exchange: _T) -> _T:
        """What carries requests for a source that would use ``exchange``: itself, except in tests."""
        return exchange

    def stand_in_thread(self, exchange: Exchange) -> Exchange | None:
        """What carries requests in threads for a source of an event loop; None in tests, where time is the loop's."""
        return exchange

    def _announce(self, events: list[Event]) -> None:
        """Log and tell, outside the lock. Two sources with the same callback hear of an event once."""
        if not events:
            return
        callbacks = [] if self._on_event is None else [self._on_event]
        with self._lock:  # Sources come while others listen.
            subscribers = list(self._subscribers.values())
        for subscriber in subscribers:
            if subscriber.on_event is not None and subscriber.on_event not in callbacks:
                callbacks.append(subscriber.on_event)
        for event in events:
            log(event)
            for callback in callbacks:
                tell(callback, event)

    # Under the lock
    # --------------

    def _is_worth_keeping(self) -> bool:
        """Whether a new coordinator in place of this one would know less. Never waits: one that is busy is."""
        if not self._lock.acquire(blocking=False):
            return True
        try:
            now, state = self.clock(), self.machine.state_value
            seen = self.machine.explain(now)
        finally:
            self._lock.release()
        if (
            seen.freshness in (Freshness.VALID, Freshness.REFRESH_DUE)
            or seen.request_state is not RequestState.IDLE
            or seen.budget_refill_at is not None
            or seen.next_rejection_at is not None
            or any(now < dropped.forget_at for dropped in state.rejections.dropped)
        ):
            return True
        has_learnt = bool(seen.failures or state.blocks or seen.credentials_generation)
        return has_learnt and now < state.now + _REMEMBERED

    @property
    def _name(self) -> str:
        return self.machine.grant.client_id

    def _move(self, now: float, since: float, deadline: float, min_ttl: float) -> Move:
        move = next_move(self.machine, now, since=since, deadline=deadline, min_ttl=min_ttl)
        answer = self.progress.told(self.machine, now, move)
        if isinstance(answer, Ready):
            return Move(answer, self._claim_if_due(now))
        if not isinstance(answer, SendRequest):
            return Move(answer, None)
        claimed = self._claim(now, min_ttl)
        if isinstance(claimed, Problem):
            return Move(GiveUp(TokenUnavailable(claimed)), None)
        return Move(Wait(min(claimed.deadline, deadline), WaitReason.RESPONSE), claimed)

    def _claim_if_due(self, now: float) -> TokenRequest | None:
        """The request for the next token, if one is due. If it cannot be built, whoever needs it will be told why."""
        if isinstance(self.machine.poll(now), Wait):
            return None
        claimed = self._claim(now, 0.0)
        return None if isinstance(claimed, Problem) else claimed

    def _claim(self, now: float, min_ttl: float) -> TokenRequest | Problem:
        try:
            self._last_request = self.machine.start_request(now, min_ttl)
        except Exception as error:  # noqa: BLE001 (the embedder's own client authentication runs in there)
            return Problem(
                ProblemKind.TRANSPORT,
                f"The token request could not be built: the client authentication raised {type(error).__name__}",
                "Mend ClientAuthentication.authenticate; its exception is not shown here, as it may hold a secret.",
            )
        return self._last_request

    def _feed(self, act: Callable[[float], _T]) -> _T:
        """One input: step under the lock, then wake the waiters, then tell of it. Published before anyone wakes."""
        with self._lock:
            result = act(self.clock())
            events = self._news(None)
            wakers = self._take_wakers()
        wake(wakers)
        self._forget_all()
        self._announce(events)
        return result

    def _news(self, before: State | None) -> list[Event]:
        """What came of an input, which has led away from ``before`` if there was one at all. Published before told."""
        state = self._published_state()
        return [] if state is before else events_of(self._name, state, self.machine.happenings)

    def _published_state(self) -> State:
        """The state, once every subscriber has what follows from it."""
        if self.machine.published is not self._last_published:
            self._last_published = self.machine.published
            for subscriber in list(self._subscribers.values()):
                subscriber.republish(*self._last_published)
        return self.machine.state_value

    def _forget_all(self) -> None:
        """Never waits for this thread itself: who is collected in the midst of a step is forgotten after it."""
        while (self._forgotten or self._given_back) and not self._is_inside():
            with self._lock, suppress(IndexError):  # Another thread may have been here first.
                waker = self._forgotten.popleft()
                self._wakers.pop(waker, None)
                claim = self._claims.pop(waker, None) or self._interrupted_claim(waker)
                if claim is not None:
                    self._given_back.append(claim)
            with suppress(IndexError):
                self.request_abandoned(self._given_back.popleft())

    def _is_inside(self) -> bool:
        """Whether this very thread holds the lock."""
        return bool(cast("Any", self._lock)._is_owned())  # noqa: SLF001 (as threading.Condition asks)

    def _interrupted_claim(self, waker: Waker) -> TokenRequest | None:
        """What ``waker`` claimed in a call that was interrupted before it could even be noted: known by its number."""
        number, attempt = self._asking.pop(waker, None), self.machine.state_value.attempt
        if attempt is None or attempt.id != number:
            return None
        url, owner = self.machine.grant.endpoint.url, self.machine.owner
        return TokenRequest(attempt.id, "POST", url, (), b"", attempt.deadline, owner=owner)

    def _take_wakers(self) -> list[Waker]:
        wakers = list(self._wakers)
        self._wakers = {}
        return wakers

    def after_fork_in_child(self) -> None:
        """In the child: the lock may be held by a thread that is not here, and so may the request.

        Nothing of an embedder is called here: its clock may belong to a loop that is not here either. Whoever comes
        first gives the request back, before anything else.
        """
        self._lock = threading.RLock()
        self._wakers = {}
        self._claims = {}
        self._asking = {}
        self._forgotten.clear()
        self._given_back.clear()
        for subscriber in list(self._subscribers.values()):
            subscriber.forked()
        if self._last_request is not None:
            self._given_back.append(self._last_request)


class _Registry:
    """Keeps those alive that are worth it, and finds the others for as long as somebody uses them.

    Each time one is made the two that were looked at longest ago are looked at, and forgotten if they know nothing. So
    there are never many of those, no call takes longer for the number of grants, and none that counts is lost.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, Coordinator] = OrderedDict()
        self._alive: weakref.WeakValueDictionary[_Key, Coordinator] = weakref.WeakValueDictionary()
        self._has_warned = False
        self.lock = threading.Lock()

    def get(self, grant: ClientCredentials, policy: Policy) -> Coordinator:
        key = (grant, policy)
        with self.lock:
            coordinator = self._kept.get(key) or self._alive.get(key)
            if coordinator is None:
                coordinator = Coordinator(TokenMachine(grant, policy=policy, draw=random.random))
                self._forget_two()
            self._keep(key, coordinator)
            warns = len(self._kept) >= _MANY and not self._has_warned
            self._has_warned |= warns
        if warns:
            write(logging.WARNING, _TOO_MANY, _MANY)
        return coordinator

    def add_name(self, coordinator: Coordinator, old: ClientCredentials, new: ClientCredentials) -> None:
        """After a rotation, an object made with the new secret must find the same machine."""
        policy = coordinator.machine.policy
        with self.lock:
            if self._alive.get((old, policy)) is coordinator:
                self._keep((new, policy), coordinator)

    def clear(self) -> None:
        with self.lock:
            self._kept.clear()
            self._alive.clear()
            self._has_warned = False

    def _keep(self, key: _Key, coordinator: Coordinator) -> None:
        self._alive[key] = coordinator
        self._kept[key] = coordinator

    def _forget_two(self) -> None:
        for key in list(itertools.islice(self._kept, 2)):
            if self._kept[key]._is_worth_keeping():  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] (of this file)
                self._kept.move_to_end(key)
            else:
                del self._kept[key]


_REMEMBERED = 86_400.0
"""Seconds since the last thing that happened, for which a coordinator is kept for what it has learnt alone: counters of
failures, blocks that are over, new credentials. After such a silence, to learn it again costs a request a day."""

_MANY = 10_000
_TOO_MANY = (
    "%d grants have a token, a block or a request of their own in this process, and each costs some memory. If there"
    " are not so many clients, look for what makes a grant anew with another secret, scope or parameter each time"
)
_Key = tuple[ClientCredentials, Policy]
_all: weakref.WeakSet[Coordinator] = weakref.WeakSet()
_registry = _Registry()


def _after_fork_in_child() -> None:
    _registry.lock = threading.Lock()
    for coordinator in list(_all):
        coordinator.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
