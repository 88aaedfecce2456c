"""Everything that only looks at a settled state: what may be done now, what readers are told, what people are told.

Nothing here changes anything, and everything reads ``state.now``. The theory stands in ``_states``, the arithmetic in
``_schedule``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from evertoken import _schedule
from evertoken._grammar import SendReason, SendRequest, Wait, WaitReason
from evertoken._grant import ClientCredentials
from evertoken._policy import Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._states import (
    LONG_AGO,
    AccessToken,
    Attempt,
    BackOff,
    BlockKind,
    Freshness,
    RequestState,
    State,
    TokenState,
)

Published = tuple[float, str | None]

_SEND = {reason: SendRequest(reason) for reason in SendReason}
_RESPONSE, _REFRESH, _RETRY, _BUDGET, _UNBLOCK = WaitReason
_NONE, _VALID, _DUE, _EXPIRED = Freshness
_IDLE, _IN_FLIGHT, _BACKING_OFF, _BLOCKED = RequestState


def decide(state: State, min_ttl: float = 0.0) -> SendRequest | Wait:
    """What whoever wants a token with ``min_ttl`` seconds of life left in it may do at ``state.now``."""
    if state.attempt is not None:
        return Wait(state.attempt.deadline, _RESPONSE)
    until, reason = state.look_at, _UNBLOCK
    budget_at, retry_at, due = state.budget_at, state.backoff.retry_at, due_at(state.token, min_ttl)
    if budget_at > until:
        until, reason = budget_at, _BUDGET
    if retry_at > until:
        until, reason = retry_at, _RETRY
    if due > until:
        until, reason = due, _REFRESH
    return Wait(until, reason) if until > state.now else _SEND[why_send(state)]


def due_at(token: AccessToken | None, min_ttl: float = 0.0) -> float:
    """When the next token is wanted: the refresh, or earlier where a caller needs ``min_ttl`` seconds of life.

    A ``min_ttl`` that no token of this endpoint could satisfy counts as 0, or it would have a request made for each
    call.
    """
    if token is None:
        return LONG_AGO
    if not 0.0 < min_ttl <= token.longest_min_ttl:
        return token.refresh_at
    return min(token.refresh_at, token.fresh_until - min_ttl)


def why_send(state: State) -> SendReason:
    """For what reason a token request would be made at ``state.now``, or is being made."""
    if state.token is None:
        return SendReason.NO_TOKEN if state.granted_at == LONG_AGO else SendReason.REJECTED
    return SendReason.EXPIRED if state.now >= state.token.fresh_until else SendReason.REFRESH_DUE


def publish(policy: Policy, state: State) -> Published:
    """``(quiet_until, header)``: while ``now < quiet_until``, ``header`` is good and nothing needs doing."""
    token, attempt = state.token, state.attempt
    if token is None:
        return (LONG_AGO, None)
    # From next_send on ``decide`` says SendRequest, if nothing but time happens until then.
    next_send = max(token.refresh_at, state.budget_at, state.look_at, state.backoff.retry_at)
    if attempt is not None:  # If nobody answers, its loss is followed by a back-off.
        lost = state.backoff.one_more(attempt.started)
        next_send = max(next_send, attempt.deadline + wait_after(policy, lost, attempt))
    return (min(token.fresh_until, next_send), token.authorization)


def wait_after(policy: Policy, backoff: BackOff, attempt: Attempt) -> float:
    """How long the next request waits, in seconds, once ``backoff`` counts the failure of ``attempt``.

    With a shared store a minute at most, since the store has the rest.
    """
    wait = _schedule.back_off(policy, backoff.failures, attempt.draw, backoff.malformed)
    return min(wait, _schedule.longest_look(policy)) if attempt.tiers else wait


def freshness(state: State) -> Freshness:
    """How good the token in hand is at ``state.now``."""
    now, token = state.now, state.token
    if token is None:
        return _NONE
    if now < token.refresh_at:
        return _VALID
    return _DUE if now < token.fresh_until else _EXPIRED


def request_state(state: State) -> RequestState:
    """Whether the endpoint may be asked at ``state.now``, is being asked, or must be left alone.

    An attempt that only looks whether a block still stands counts as BLOCKED.
    """
    now = state.now
    if state.attempt is not None:
        return _BLOCKED if state.is_look else _IN_FLIGHT
    if now < state.unblock_at:
        return _BLOCKED
    return _BACKING_OFF if now < max(state.backoff.retry_at, state.budget_at) else _IDLE


# What a person is told
# =====================

_BUDGET_SPENT = Problem(
    ProblemKind.BUDGET,
    "As many token requests have been made as the policy allows for now",
    "Find out what uses up the tokens; Policy.budget_burst and Policy.budget_interval set the limit.",
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer to "why is there no token?" and "what happens next?". Redacted: log it, print it, send it to support.

    Moments are points in time on the machine's clock, like ``now``; ``str()`` turns them into seconds from now.
    ``blocks`` are those that stand, with the moment at which each is over. ``budget_left`` counts the token requests
    that could be made at once; ``budget_refill_at`` is None when the bucket is full. ``store`` is what a driver knows
    of the stores that share the token, and None without any. With a store an attempt looks there first, and need not
    become a token request.
    """

    now: float
    client_id: str
    token_endpoint: str
    state: TokenState
    freshness: Freshness
    request_state: RequestState
    next: SendRequest | Wait
    refresh_at: float | None
    fresh_until: float | None
    expires_at: float | None
    attempt_deadline: float | None
    failures: int
    blocks: tuple[tuple[BlockKind, float], ...]
    budget_left: int
    budget_burst: int
    budget_refill_at: float | None
    rejections: int
    next_rejection_at: float | None
    credentials_generation: int
    problem: Problem | None
    store: str | None = None

    def __str__(self) -> str:
        return "\n".join((self._headline(), *self._details()))

    def _headline(self) -> str:
        reason = self.next.reason.value
        what = f"a token request may be made ({reason})"
        if self.store is not None:
            what = f"the store may be looked into, and a token asked for ({reason})"
        if isinstance(self.next, Wait):
            what = "no token request" if self.store is None else "no look into the store"
            what = f"{what} for {self.next.until - self.now:.1f} s ({reason})"
        return f"{self.state.value.upper()}: token {self.freshness.value}, request {self.request_state.value}; {what}"

    def _details(self) -> Iterator[str]:
        yield f"  client {self.client_id} at {self.token_endpoint}, credentials no. {self.credentials_generation + 1}"
        if self.refresh_at is not None and self.fresh_until is not None:
            due, last = self._when(self.refresh_at), self._when(self.fresh_until)
            yield f"  token: next one due {due}, this one handed out until {last}"
        if self.attempt_deadline is not None:
            what = "request in flight" if self.store is None else "a look into the store, or a request, in flight"
            yield f"  {what}, given up {self._when(self.attempt_deadline)}"
        yield from [f"  {kind.value} until {self._when(until)}" for kind, until in self.blocks]
        refill = "full" if self.budget_refill_at is None else f"next refill {self._when(self.budget_refill_at)}"
        yield f"  budget: {self.budget_left} of {self.budget_burst} left, {refill}"
        if self.failures:
            yield f"  {self.failures} failures in a row"
        if self.next_rejection_at is not None:
            yield f"  rejections: {self.rejections} in a row, next believed {self._when(self.next_rejection_at)}"
        if self.problem is not None:
            yield f"  problem: {self.problem}"
        if self.store is not None:
            yield f"  shared store: {self.store}"

    def _when(self, moment: float) -> str:
        distance = moment - self.now
        return f"{distance:.1f} s from now" if distance >= 0 else f"{-distance:.1f} s ago"


def explain(grant: ClientCredentials, policy: Policy, state: State) -> Explanation:
    """The explanation of a state that is settled at its own moment."""
    now = state.now
    fresh, request = freshness(state), request_state(state)
    budget = _schedule.refill(policy, state.budget, now)
    token, attempt, rejections = state.token, state.attempt, state.rejections
    return Explanation(
        now=now,
        client_id=grant.client_id,
        token_endpoint=grant.endpoint.url,
        state=one_word(fresh, request),
        freshness=fresh,
        request_state=request,
        next=decide(state),
        refresh_at=token.refresh_at if token else None,
        fresh_until=token.fresh_until if token else None,
        expires_at=token.expires_at if token else None,
        attempt_deadline=attempt.deadline if attempt else None,
        failures=state.backoff.failures,
        blocks=tuple((block.kind, block.until) for block in state.standing),
        budget_left=budget.level,
        budget_burst=policy.budget_burst,
        budget_refill_at=None if math.isinf(budget.refill_at) else budget.refill_at,
        rejections=rejections.believed,
        next_rejection_at=rejections.allowed_at if now < rejections.allowed_at else None,
        credentials_generation=state.credentials.generation,
        problem=problem_of(state),
    )


def one_word(fresh: Freshness, request: RequestState) -> TokenState:
    """The one word that people read: BLOCKED wins over the freshness."""
    return TokenState.BLOCKED if request is RequestState.BLOCKED else TokenState[fresh.name]


def problem_of(state: State) -> Problem | None:
    """Why there is no token, or why the last attempt failed, in a settled state; of blocks the gravest."""
    if standing := state.standing:
        return max(standing, key=lambda block: (block.kind.is_grave, block.until)).problem
    if state.problem is None and state.now < state.budget_at and due_at(state.token) <= state.now:
        return _BUDGET_SPENT
    return state.problem
