"""Every reachable state, breadth first, over the real ``step``: safety in each, and a way back to a token from each.

The clock is small: it advances by one ``tick`` at a time, and a policy of a few ticks each makes every deadline fall on
one. States that answer every future alike are merged by ``canonical``. Nothing here knows how the machine works;
what must hold is in ``evertoken.testing.laws``.

    exploration = explore(SMALL_POLICY)
    assert not exploration.violations, exploration
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from evertoken._checks import check_positive, check_seconds, check_type, check_whole
from evertoken._grammar import AnswerReceived, Input, RequestClaimed, SendRequest
from evertoken._look import decide, freshness
from evertoken._policy import Policy
from evertoken._schedule import refill
from evertoken._states import Budget, Freshness, State, first_state
from evertoken._step import settle, step
from evertoken.happenings import Happening
from evertoken.outcomes import Granted
from evertoken.testing._canonical import canonical
from evertoken.testing._enabled import Alphabet, enabled_inputs
from evertoken.testing.laws._laws import broken_by, liveness_bound
from evertoken.testing.laws._state_laws import broken_in

SMALL_POLICY = Policy(
    refresh_before=2,
    refresh_before_share=0.5,
    leeway=1,
    leeway_share=0.5,
    refresh_jitter_share=0,
    default_lifetime=6,
    max_lifetime=8,
    request_timeout=2,
    store_wait=1,
    retry_base=2,
    retry_cap=4,
    malformed_cap=8,
    locked_wait=3,
    locked_wait_cap=6,
    refused_wait=4,
    refused_wait_cap=8,
    doubted_refusal_wait=2,
    unclear_wait=2,
    unclear_wait_cap=4,
    rate_limited_wait=2,
    rate_limited_wait_cap=4,
    wait_spread=0,
    budget_burst=3,
    budget_interval=4,
    budget_interval_floor=2,
    rejection_interval=3,
    rejection_interval_cap=6,
)
"""A policy of a few seconds everywhere: with draws of 0 every deadline falls on a whole second."""

_EVERYTHING = Alphabet()
_USABLE = (Freshness.VALID, Freshness.REFRESH_DUE)
Step = Callable[[Policy, State, Input], tuple[State, tuple[Happening, ...]]]


@dataclass(frozen=True, slots=True)
class Violation:
    """A law that was broken, and a shortest path to the breach: the inputs in order, each with its moment."""

    law: str
    now: float
    path: tuple[Input, ...]

    def __str__(self) -> str:
        lines = [f"    {happened}" for happened in self.path] or ["    (nothing had happened)"]
        return "\n".join([f"{self.law}, at {self.now}, after", *lines])


@dataclass(frozen=True, slots=True)
class Exploration:
    """What an exploration found: ``states`` that differ, up to ``depth`` inputs or ticks from the start, by ``steps``.

    ``whole`` says that there was no state left to look at.
    """

    states: int
    steps: int
    whole: bool
    depth: int
    slowest: float
    """The longest time, in seconds, that any state needs to get a token once faults have ended."""
    violations: tuple[Violation, ...] = field(repr=False)

    def __str__(self) -> str:
        reach = "all of them" if self.whole else f"up to {self.depth} steps from the start"
        head = f"{self.states} states ({reach}), {self.steps} steps, a token after {self.slowest} s at most"
        return "\n".join([head, *map(str, self.violations)])


class _Node(NamedTuple):
    state: State
    parent: int
    happened: Input | None
    depth: int


def explore(
    policy: Policy = SMALL_POLICY,
    *,
    alphabet: Alphabet = _EVERYTHING,
    tick: float = 1.0,
    latest_answer: float = 3.0,
    max_states: int = 50_000,
    max_violations: int = 10,
    step: Step = step,
) -> Exploration:
    """Look at every state that can be reached, nearest first, and hold each to the laws.

    Args:
        policy: any whose waits are few ticks long, an embedder's own too; longer waits have too many states between.
        alphabet: what may happen besides the passing of time.
        tick: seconds by which the clock advances.
        latest_answer: no answer comes later than this many seconds after its attempt's deadline. Without such an end,
            the memory of a lost attempt would make the number of states infinite.
        max_states: stop looking for new states at this number.
        max_violations: stop at this number of broken laws.
        step: the machine. A test of the laws themselves passes one with a safeguard removed.

    Raises:
        TypeError: ``policy`` is no Policy, or ``alphabet`` is no Alphabet.
        ValueError: ``tick`` is not above 0, ``latest_answer`` is negative, or a limit is no whole number of at least 1.
    """
    check_type("policy", policy, Policy)
    check_type("alphabet", alphabet, Alphabet)
    check_positive("tick", tick)
    check_seconds("latest_answer", latest_answer)
    check_whole("max_states", max_states, 1)
    check_whole("max_violations", max_violations, 1)
    search = _Search(policy, alphabet, tick, latest_answer, step)
    search.run(max_states, max_violations)
    slowest = search.check_liveness(max_violations)
    return Exploration(
        len(search.nodes),
        search.steps,
        search.whole,
        search.nodes[-1].depth,
        slowest,
        tuple(search.violations),
    )


class _Search:
    def __init__(self, policy: Policy, alphabet: Alphabet, tick: float, latest_answer: float, step: Step) -> None:
        self.policy = policy
        self.alphabet = alphabet
        self.tick = tick
        self.latest_answer = latest_answer
        self.step = step
        self.steps = 0
        self.whole = False
        self.nodes: list[_Node] = []
        self.seen: dict[tuple[object, ...], int] = {}
        self.a_tick_later: list[int] = []
        self.violations: list[Violation] = []
        self.most_failures = _doublings(policy.retry_base, max(policy.retry_cap, policy.malformed_cap)) + 1

    def run(self, max_states: int, max_violations: int) -> None:
        self._visit(settle(self.policy, first_state(self.policy), 0.0), -1, None, 0)
        position = 0
        while position < len(self.nodes) < max_states and len(self.violations) < max_violations:
            self._expand(position)
            position += 1
        self.whole = position == len(self.nodes)

    def _expand(self, position: int) -> None:
        """Visit what follows from one state: by a tick that passes, and by everything else that may happen next."""
        state, _, _, depth = self.nodes[position]
        policy, now, step, depth = self.policy, state.now, self.step, depth + 1
        later = self._simplified(settle(policy, state, now + self.tick))
        self.a_tick_later.append(self._visit(later, position, None, depth))
        self.steps += 1
        for happened in enabled_inputs(policy, state, now, self.alphabet):
            self.steps += 1
            after, happenings = step(policy, state, happened)
            if after != state:
                laws = broken_by(policy, state, happened, after, happenings)
                if laws:
                    self._note(laws, position, happened, now)
                self._visit(self._simplified(after), position, happened, depth)

    def _visit(self, state: State, parent: int, happened: Input | None, depth: int) -> int:
        """Hold ``state`` to the laws if it is new. Returns its position, or that of the state it is merged with."""
        new = len(self.nodes)
        position = self.seen.setdefault(canonical(state, state.now), new)
        if position == new:
            self.nodes.append(_Node(state, parent, happened, depth))
            laws = broken_in(self.policy, state, state.now)
            if laws:
                self._note(laws, parent, happened, state.now)
        return position

    def _note(self, laws: Iterable[str], parent: int, happened: Input | None, now: float) -> None:
        for law in laws:
            path = self._path(parent) + ((happened,) if happened is not None else ())
            self.violations.append(Violation(law, now, path))

    def _path(self, position: int) -> tuple[Input, ...]:
        path: list[Input] = []
        while position >= 0:
            node = self.nodes[position]
            if node.happened is not None:
                path.append(node.happened)
            position = node.parent
        return tuple(reversed(path))

    def _simplified(self, state: State) -> State:
        """A state with the same future as ``state``, as far as this exploration goes, so that fewer are visited.

        Counters beyond every cap of the policy are alike, and an answer that can no longer come is not waited for.
        """
        lost, backoff = state.lost, state.backoff
        if lost is not None and state.now > lost.deadline + self.latest_answer:
            state = state._replace(lost=None)
        most, (failures, malformed, repeats, *rest) = self.most_failures, backoff
        if failures > most or malformed > most or repeats > most:
            counters = (min(failures, most), min(malformed, most), min(repeats, most))
            state = state._replace(backoff=type(backoff)(*counters, *rest))
        return state if state.now < state.budget.refill_at else state._replace(budget=self._refilled(state))

    def _refilled(self, state: State) -> Budget:
        return refill(self.policy, state.budget, state.now)

    # Liveness
    # --------

    def check_liveness(self, max_violations: int) -> float:
        """Hold every state to the law that a token is there in time once faults are over and somebody asks.

        Returns the longest time that any state needs, in seconds.
        """
        bound = liveness_bound(self.policy)
        known: dict[int, float] = {}
        slowest = 0.0
        for position, node in enumerate(self.nodes):
            needed = self._time_to_token(position, known, bound)
            slowest = max(slowest, needed)
            if needed > bound and len(self.violations) < max_violations:
                law = f"a token is there within {bound} s of the end of faults, not after {needed} s"
                self._note([law], position, None, node.state.now)
        return slowest

    def _time_to_token(self, position: int, known: dict[int, float], bound: float) -> float:
        """Seconds until a token is there in the worst case, in which the request in flight is lost.

        ``known`` keeps the result of each state on the way, so that none is looked at twice.
        """
        passed: list[tuple[int, float]] = []
        state, elapsed, left = self.nodes[position].state, 0.0, math.inf
        while elapsed <= bound:
            if position in known or freshness(state) in _USABLE:
                left = known.get(position, 0.0)
                break
            passed.append((position, elapsed))
            action = decide(state)
            if isinstance(action, SendRequest):
                left = 0.0 if freshness(self._granted(state)) in _USABLE else math.inf
                break
            if action.until <= state.now:  # A faulty step has left a wait that is over: no token ever comes.
                break
            position, state, seconds = self._later(position, state, action.until)
            elapsed += seconds
        for place, moment in passed:
            known[place] = elapsed - moment + left
        return elapsed + left

    def _later(self, position: int, state: State, until: float) -> tuple[int, State, float]:
        """The next state on the way to ``until``: that of a tick later where it is known, else that at ``until``."""
        seconds = until - state.now
        if self.tick <= seconds and position < len(self.a_tick_later):
            later = self.a_tick_later[position]
            return later, self.nodes[later].state, self.tick
        state = settle(self.policy, state, until)
        return self.seen.setdefault(canonical(state, state.now), len(self.seen)), state, seconds

    def _granted(self, state: State) -> State:
        """The state after a request that is answered on the spot, as every request is once faults have ended."""
        state, _ = self.step(self.policy, state, RequestClaimed(state.now, self.alphabet.draws[-1]))
        number = 0 if state.attempt is None else state.attempt.id
        return self.step(self.policy, state, AnswerReceived(state.now, number, Granted("token#0", 8.0)))[0]


def _doublings(base: float, cap: float) -> int:
    return max(0, math.ceil(math.log2(cap / base)))
