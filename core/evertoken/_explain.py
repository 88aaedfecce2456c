"""Everything a person may want to know about a machine, in one printable value without a secret in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evertoken import _schedule
from evertoken._actions import SendRequest, Wait
from evertoken._decide import decide, due_at, freshness, request_state
from evertoken._grant import ClientCredentials
from evertoken._policy import Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._records import BlockKind
from evertoken._states import Freshness, RequestState, State, TokenState

__all__ = ("Explanation", "explain", "folded", "problem_of")

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
    that could be made at once; ``budget_refill_at`` is None when the bucket is full.
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

    def __str__(self) -> str:
        return "\n".join((self._headline(), *self._details()))

    def _headline(self) -> str:
        reason = self.next.reason.value
        what = f"a token request may be made ({reason})"
        if isinstance(self.next, Wait):
            what = f"no token request for {self.next.until - self.now:.1f} s ({reason})"
        return f"{self.state.value.upper()}: token {self.freshness.value}, request {self.request_state.value}; {what}"

    def _details(self) -> list[str]:
        lines = [
            f"  client {self.client_id} at {self.token_endpoint}, credentials no. {self.credentials_generation + 1}"
        ]
        if self.refresh_at is not None and self.fresh_until is not None:
            due, last = self._when(self.refresh_at), self._when(self.fresh_until)
            lines.append(f"  token: next one due {due}, this one handed out until {last}")
        if self.attempt_deadline is not None:
            lines.append(f"  request in flight, given up {self._when(self.attempt_deadline)}")
        lines += [f"  {kind.value} until {self._when(until)}" for kind, until in self.blocks]
        refill = "full" if self.budget_refill_at is None else f"next refill {self._when(self.budget_refill_at)}"
        lines.append(f"  budget: {self.budget_left} of {self.budget_burst} left, {refill}")
        if self.failures:
            lines.append(f"  {self.failures} failures in a row")
        if self.next_rejection_at is not None:
            lines.append(
                f"  rejections: {self.rejections} in a row, next believed {self._when(self.next_rejection_at)}"
            )
        if self.problem is not None:
            lines.append(f"  problem: {self.problem}")
        return lines

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
        state=folded(fresh, request),
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


def folded(fresh: Freshness, request: RequestState) -> TokenState:
    """The one word that people read: BLOCKED wins over the freshness."""
    return TokenState.BLOCKED if request is RequestState.BLOCKED else TokenState[fresh.name]


def problem_of(state: State) -> Problem | None:
    """Why there is no token, or why the last attempt failed, in a settled state; of blocks the gravest."""
    if standing := state.standing:
        return max(standing, key=lambda block: (block.kind.is_grave, block.until)).problem
    if state.problem is None and state.now < state.budget_at and due_at(state.token) <= state.now:
        return _BUDGET_SPENT
    return state.problem
