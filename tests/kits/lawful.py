"""A machine under watch: every input is followed by a check of every law of docs/design.md.

The watch keeps books of its own (attempts, exchanges, the token in hand, what was dropped) from nothing but the inputs
and their outcomes, and compares them with what the machine says. A twin lives through the same with its clock set to
another origin, and an archive folds the same inputs through ``step``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from typing_extensions import override

from evertoken import (
    BlockKind,
    Challenge,
    Freshness,
    Granted,
    HttpResponse,
    LocalProtocolError,
    Outcome,
    Policy,
    Rejection,
    RequestState,
    SendRequest,
    State,
    TokenMachine,
    TokenRequest,
    Wait,
)
from evertoken._grammar import Input
from evertoken._states import first_state
from evertoken._step import step
from evertoken.happenings import Happening
from evertoken.testing import canonical
from tests.kits import canary
from tests.kits.driving import bearer, granted

__all__ = ("ORIGIN", "POLICY", "TICK", "Watched", "next_send")

TICK = 2.0**-10
ORIGIN = 2.0**33 + 12345 * TICK
"""What the twin's clock shows, in seconds, when ours shows 0."""

MIN_TTLS = (0.0, 1.0, 2.5, 40.0)

POLICY = Policy(
    refresh_before=3,
    leeway=1,
    leeway_share=0.25,
    default_lifetime=8,
    max_lifetime=24,
    request_timeout=3,
    retry_base=1,
    retry_cap=4,
    malformed_cap=8,
    locked_wait=6,
    locked_wait_cap=12,
    refused_wait=8,
    refused_wait_cap=16,
    doubted_refusal_wait=4,
    unclear_wait=3,
    unclear_wait_cap=6,
    rate_limited_wait=4,
    rate_limited_wait_cap=10,
    wait_spread=2,
    wait_spread_share=0.5,
    budget_burst=3,
    budget_interval=5,
    budget_interval_floor=2,
    rejection_interval=6,
    rejection_interval_cap=12,
)


class Archivist(TokenMachine):
    """A machine that keeps its inputs, as a trace would."""

    __slots__ = ("inputs",)

    def __init__(self, policy: Policy, numbers: list[float]) -> None:
        self.inputs: list[Input] = []
        super().__init__(canary.grant(), policy=policy, draw=lambda: numbers[-1])

    @override
    def stepped(self, happened: Input, after: State, happenings: tuple[Happening, ...]) -> None:
        self.inputs.append(happened)
        super().stepped(happened, after, happenings)


@dataclass
class Attempt:
    """The watch's own note of an attempt."""

    request: TokenRequest
    twin: TokenRequest
    started: float
    over: bool = False


class Hand(NamedTuple):
    """The watch's own note of the token in hand."""

    value: str
    started: float
    fresh_until: float


def next_send(machine: TokenMachine, now: float, horizon: float) -> float:
    """The first moment, up to ``horizon``, at which poll says SendRequest: found by asking, in steps, all the way."""
    moment = now
    while moment < horizon:
        action = machine.poll(moment)
        if isinstance(action, SendRequest):
            return moment
        assert action.until > moment
        ahead = min(action.until, horizon) - moment
        # Nothing changes before `until`: not in the middle, and not one tick before it.
        for share in (0.25, 0.5, 0.75, 1.0):
            between = min(moment + ahead * share, moment + ahead - TICK)
            assert between <= moment or isinstance(machine.poll(between), Wait)
        moment = action.until
    return horizon


class Watched:
    """Two machines that live the same life at two origins of time, the archive of one, and the books about both."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.draws = [0.0]
        self.machine = Archivist(policy, self.draws)
        self.twin = TokenMachine(canary.grant(), policy=policy, draw=lambda: self.draws[-1])
        self.folded = first_state(policy)
        self.now = 0.0
        self.attempts: list[Attempt] = []
        self.exchanges: list[float] = []
        self.hand: Hand | None = None
        self.shunned: dict[str, float] = {}
        self.level, self.interval, self.refill_at = policy.budget_burst, policy.budget_interval, math.inf

    # What may happen
    # ---------------

    def advance(self, seconds: float) -> None:
        self.now += seconds
        while self.now >= self.refill_at:
            self.level += 1
            self.refill_at = math.inf if self.level == self.policy.budget_burst else self.refill_at + self.interval

    def claim(self, min_ttl: float, draw: float) -> None:
        self.draws.append(draw)
        before = self.machine.freshness(self.now), self.machine.request_state(self.now)
        allowed = isinstance(self.machine.poll(self.now, min_ttl), SendRequest)
        unchanged = self.machine.state_value
        try:
            request = self.machine.start_request(self.now, min_ttl)
        except LocalProtocolError:
            assert not allowed
            assert self.machine.state_value is unchanged
            return
        assert allowed
        twin = self.twin.start_request(self.now + ORIGIN, min_ttl)
        self._note_start(request, twin)
        assert before[0] is not Freshness.VALID or min_ttl > 0
        assert before[1] is RequestState.IDLE

    def _note_start(self, request: TokenRequest, twin: TokenRequest) -> None:
        assert not any(self.now < other.request.deadline for other in self.attempts if not other.over)
        self.attempts.append(Attempt(request, twin, self.now))
        self.exchanges.append(self.now)
        assert self.level > 0
        if self.refill_at == math.inf:
            self.refill_at = self.now + self.interval
        self.level -= 1

    def answer(self, which: int, response: HttpResponse, token: str | None = None) -> None:
        attempt = self._pick(which)
        if attempt is None:
            return
        outcome = self.machine.receive_response(self.now, attempt.request, response)
        twin = self.twin.receive_response(self.now + ORIGIN, attempt.twin, response)
        assert type(outcome) is type(twin)
        self._note_outcome(attempt, outcome, attempt.started, token)

    def abandon(self, which: int) -> None:
        attempt = self._pick(which)
        if attempt is not None:
            self.machine.request_abandoned(self.now, attempt.request)
            self.twin.request_abandoned(self.now + ORIGIN, attempt.twin)
            attempt.over = True

    def break_off(self, which: int) -> None:
        attempt = self._pick(which)
        if attempt is not None:
            reason = f"connection reset after {attempt.request.secrets[0]}"
            self.machine.send_failed(self.now, attempt.request, reason)
            self.twin.send_failed(self.now + ORIGIN, attempt.twin, reason)
            attempt.over = True

    def reject(self, n: int, challenge: Challenge) -> None:
        verdict = self.machine.token_rejected(self.now, bearer(n), challenge)
        assert verdict is self.twin.token_rejected(self.now + ORIGIN, bearer(n), challenge)
        if verdict is Rejection.DROPPED:
            assert self.hand is not None
            assert self.hand.value == canary.token(n)
            assert self.now < self.hand.fresh_until
            self.shunned[self.hand.value] = self.now + self.policy.rejection_interval
            self.hand = None
            # Another token is on its way, or may be asked for at once.
            in_flight = self.machine.request_state(self.now) is RequestState.IN_FLIGHT
            assert in_flight or isinstance(self.machine.poll(self.now), SendRequest)

    def report_block(self, kind: BlockKind, seconds: float | None, draw: float) -> None:
        self.draws.append(draw)
        self.machine.endpoint_blocked(self.now, kind, seconds)
        self.twin.endpoint_blocked(self.now + ORIGIN, kind, seconds)

    def rotate(self, n: int) -> None:
        self.machine.replace_credentials(self.now, canary.grant(api_key=canary.secret(n)))
        self.twin.replace_credentials(self.now + ORIGIN, canary.grant(api_key=canary.secret(n)))

    def lift(self) -> None:
        self.machine.lift_block(self.now)
        self.twin.lift_block(self.now + ORIGIN)

    def may_start(self) -> bool:
        return isinstance(self.machine.poll(self.now), SendRequest)

    def _pick(self, which: int) -> Attempt | None:
        """One of the latest attempts, by how long ago it started; None if there were not so many."""
        return self.attempts[-1 - which] if which < len(self.attempts) else None

    def _note_outcome(self, attempt: Attempt, outcome: Outcome, started: float, token: str | None) -> None:
        if isinstance(outcome, Granted):
            assert token is not None
            assert not attempt.over
            assert token not in self.shunned or self.now >= self.shunned[token]
            assert self.hand is None or started >= self.hand.started
            self._take(token, started, outcome.expires_in)
        attempt.over = True

    def _take(self, value: str, started: float, expires_in: float | None) -> None:
        life = self.policy.default_lifetime if expires_in is None else min(expires_in, self.policy.max_lifetime)
        leeway = min(self.policy.leeway, self.policy.leeway_share * life)
        self.hand = Hand(value, started, started + math.floor((life - leeway) / TICK) * TICK)
        self.shunned.pop(value, None)
        self.interval = max(self.policy.budget_interval_floor, min(self.policy.budget_interval, life / 2))
        if self.refill_at != math.inf:
            self.refill_at = min(self.refill_at, self.now + self.interval)

    # The laws
    # --------

    def check(self) -> None:
        self.check_that_waits_lie_ahead()
        self.check_who_is_in_flight()
        self.check_the_budget()
        self.check_the_authorization()
        self.check_quiet_until()
        self.check_the_twin()
        self.check_the_archive()

    def check_that_waits_lie_ahead(self) -> None:
        before, published = self.machine.state_value, self.machine.published
        for min_ttl in MIN_TTLS:
            action = self.machine.poll(self.now, min_ttl)
            assert action == self.machine.poll(self.now, min_ttl)
            if isinstance(action, Wait):
                assert action.until > self.now
        shown = self.machine.explain(self.now)
        canary.assert_clean(shown, self.machine.problem(self.now), self.machine, before, self.machine.token(self.now))
        assert self.machine.state_value is before
        assert self.machine.published is published

    def check_who_is_in_flight(self) -> None:
        flying = [a for a in self.attempts if not a.over and self.now < a.request.deadline]
        assert len(flying) <= 1
        assert bool(flying) is (self.machine.request_state(self.now) is RequestState.IN_FLIGHT)

    def check_the_budget(self) -> None:
        assert self.machine.explain(self.now).budget_left == self.level
        for first, start in enumerate(self.exchanges):
            refills = (self.now - start) // self.policy.budget_interval_floor
            assert len(self.exchanges) - first <= self.policy.budget_burst + refills

    def check_the_authorization(self) -> None:
        for min_ttl in MIN_TTLS:
            got = self.machine.authorization(self.now, min_ttl)
            if self.hand is None or self.now >= self.hand.fresh_until - min_ttl:
                assert got is None
            else:
                assert got == f"Bearer {self.hand.value}"
                assert self.hand.value not in self.shunned
        token = self.machine.token(self.now)
        assert token is None or token.authorization == f"Bearer {token.value}" == self.machine.authorization(self.now)

    def check_quiet_until(self) -> None:
        quiet_until, header = self.machine.published
        if self.hand is None:
            assert (quiet_until, header) == (-math.inf, None)
            return
        assert header == f"Bearer {self.hand.value}"
        found = next_send(self.machine, self.now, self.hand.fresh_until)
        assert quiet_until == found or (quiet_until <= self.now and found <= max(self.now, self.hand.fresh_until))
        assert (self.now < quiet_until) is (self.now < found)

    def check_the_twin(self) -> None:
        there = self.now + ORIGIN
        for min_ttl in MIN_TTLS:
            here, over_there = self.machine.poll(self.now, min_ttl), self.twin.poll(there, min_ttl)
            if isinstance(here, Wait):
                over_there_until = over_there.until if isinstance(over_there, Wait) else None
                assert over_there_until == here.until + ORIGIN
            assert here.reason is over_there.reason
        assert self.machine.state(self.now) is self.twin.state(there)
        assert self.twin.published[0] == self.machine.published[0] + ORIGIN
        assert canonical(self.machine.state_value, self.now) == canonical(self.twin.state_value, there)

    def check_the_archive(self) -> None:
        for happened in self.machine.inputs:
            self.folded, _ = step(self.policy, self.folded, happened)
        self.machine.inputs.clear()
        assert self.folded == self.machine.state_value

    # Liveness
    # --------

    def check_that_a_token_comes(self) -> None:
        """When faults have ended and somebody asks, a token is there within the bound that the design states."""
        p = self.policy
        longest_block = max(
            p.locked_wait_cap, p.refused_wait_cap, p.unclear_wait_cap, p.rate_limited_wait_cap, p.malformed_cap
        )
        bound = max(p.request_timeout + p.retry_cap, longest_block + p.wait_spread, p.budget_interval)
        end = self.now + bound + 2 * p.request_timeout
        n = 100
        while self.machine.authorization(self.now) is None:
            assert self.now <= end
            action = self.machine.poll(self.now)
            if isinstance(action, Wait):
                assert action.until > self.now
                self.advance(action.until - self.now)
                continue
            self.claim(0.0, 0.5)
            self.answer(0, granted(n, 8), canary.token(n))
            n += 1
            self.check()
