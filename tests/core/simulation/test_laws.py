"""The laws say all there is to say about a step: whatever field of its outcome is changed, one of them is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from evertoken import BlockKind, Challenge, Outcome, State
from evertoken._grammar import AnswerReceived, Input, RequestClaimed, TokenRejected
from evertoken._problems import Problem, ProblemKind
from evertoken._secrecy import replace
from evertoken._states import LONG_AGO, NEVER, AccessToken, Attempt, Block, Budget, Dropped, Rejections, first_state
from evertoken._step import settle, step
from evertoken.happenings import Happening
from evertoken.outcomes import Failed, Granted
from evertoken.testing._enabled import EVERY_ANSWER, Alphabet, enabled_inputs
from evertoken.testing._explorer import SMALL_POLICY
from evertoken.testing._random import Random
from evertoken.testing.laws import _laws
from evertoken.testing.laws._laws import broken_by
from evertoken.testing.laws._state_laws import broken_in

POLICY = replace(SMALL_POLICY, refresh_jitter_share=0.25, wait_spread=4, wait_spread_share=0.5)
ALPHABET = Alphabet(
    lifetimes=(8.0, 3.0, 1.0, None),
    draws=(0.0, 0.5),
    demands=(0.0, 2.0),
    challenges=(Challenge.TOKEN, Challenge.UNKNOWN),
    reports=(
        (BlockKind.LOCKED, None),
        (BlockKind.RATE_LIMITED, 2.0),
        (BlockKind.REFUSED, 0.0),
        (BlockKind.REFUSED, None),
    ),
)
OTHER = AccessToken("other", "Bearer other", 0.0, 4.0, 6.0, 8.0)
PROBLEM = Problem(ProblemKind.SERVER, "made up")


class Step(NamedTuple):
    before: State
    happened: Input
    after: State
    told: tuple[Happening, ...]


def walk(seed: int, steps: int, alphabet: Alphabet = ALPHABET) -> Iterator[Step]:
    """A life at random: any enabled input, now and then a stray one, and time goes on."""
    random = Random(seed)
    state = settle(POLICY, first_state(POLICY), 0.0)
    for _ in range(steps):
        now = state.now + random.pick((0.0, 0.0, 0.0, 0.5, 1.0, 2.0, 4.0))
        settled = settle(POLICY, state, now)
        inputs = strays(settled, random) if random.chance(0.1) else enabled_inputs(POLICY, settled, now, alphabet)
        happened = random.pick(list(inputs))
        after, told = step(POLICY, state, happened)
        yield Step(state, happened, after, told)
        state = after


def strays(state: State, random: Random) -> list[Input]:
    """What comes too late, or twice."""
    now = state.now
    return [
        AnswerReceived(now, 99, random.pick(EVERY_ANSWER)),
        TokenRejected(now, "Bearer other", Challenge.TOKEN),
    ]


def overtaken(answer: Outcome) -> Iterator[Step]:
    """An attempt is lost, the next one comes to ``answer``, and then the token of the first one arrives after all."""
    state = settle(POLICY, first_state(POLICY), 0.0)
    inputs: tuple[Input, ...] = (
        RequestClaimed(0.0, 0.0),
        RequestClaimed(4.0, 0.0),
        AnswerReceived(4.0, 2, answer),
        AnswerReceived(4.0, 1, Granted("late", 8.0)),
    )
    for happened in inputs:
        after, told = step(POLICY, state, happened)
        yield Step(state, happened, after, told)
        state = after


# Long enough that each law has something to say, and thinned where nothing is new.
WALKS = [
    *[taken for seed in range(5) for taken in walk(seed, 300)][::2],
    *[taken for seed in range(5, 8) for taken in walk(seed, 300, replace(ALPHABET, shared=True))][::2],
    *overtaken(Failed(Problem(ProblemKind.SERVER, "busy"))),
    *overtaken(Granted("early", 8.0)),
]


def changed(state: State) -> Iterator[State]:
    """``state`` with one thing changed, for every thing that it holds."""
    now = state.now
    yield state._replace(now=now + 1)
    yield state._replace(next_id=state.next_id + 1)
    yield state._replace(granted_at=now + 1)
    for attempt in (None, Attempt(99, now, now + 2, 0.0, 0)):
        if state.attempt != attempt:
            yield state._replace(attempt=attempt)
        if state.lost != attempt:
            yield state._replace(lost=attempt)
    yield state._replace(problem=PROBLEM)
    if state.problem is not None:
        yield state._replace(problem=None)
    yield from changed_tokens(state)
    yield from changed_waits(state)
    yield from (state._replace(rejections=rejections) for rejections in changed_rejections(state))
    yield state._replace(credentials=state.credentials._replace(generation=state.credentials.generation + 1))
    yield state._replace(credentials=state.credentials._replace(proven=not state.credentials.proven))
    yield state._replace(credentials=state.credentials._replace(lock_lifted=not state.credentials.lock_lifted))
    yield state._replace(credentials=state.credentials._replace(refusals_lifted=state.credentials.refusals_lifted + 1))


def changed_tokens(state: State) -> Iterator[State]:
    yield state._replace(token=OTHER)
    if state.token is not None:
        yield state._replace(token=None)
        for name in ("started", "refresh_at", "fresh_until", "expires_at"):
            yield state._replace(token=replace(state.token, **{name: getattr(state.token, name) + 2**-10}))
        yield state._replace(token=replace(state.token, scope="another"))
        yield state._replace(token=replace(state.token, value="other"))
        yield state._replace(token=replace(state.token, authorization="Bearer other"))


def changed_waits(state: State) -> Iterator[State]:
    now, backoff = state.now, state.backoff
    for name in ("failures", "malformed", "repeats"):
        yield state._replace(backoff=backoff._replace(**{name: getattr(backoff, name) + 1}))
    for name in ("retry_at", "found"):
        moment = getattr(backoff, name)
        for moved in (now + 7 if moment == LONG_AGO else moment - 0.5, now + 9):
            changed: dict[str, Any] = {name: moved}
            yield state._replace(backoff=backoff._replace(**changed))
    block = Block(BlockKind.UNCLEAR, now + 9, now, 1, PROBLEM, now + 9)
    yield state._replace(blocks=(*state.blocks, block))
    for number, block in enumerate(state.blocks):
        earlier, later = state.blocks[:number], state.blocks[number + 1 :]
        yield state._replace(blocks=earlier + later)
        for until in (block.until - 2**-10, block.until + 1):
            yield state._replace(blocks=(*earlier, block._replace(until=until), *later))
        yield state._replace(blocks=(*earlier, block._replace(found=block.found - 0.5), *later))
        yield state._replace(blocks=(*earlier, block._replace(found=block.found + 2**-10), *later))
        yield state._replace(blocks=(*earlier, block._replace(times=block.times + 1), *later))
        for look_at in (block.look_at - 2**-10, block.look_at + 2**-10):
            yield state._replace(blocks=(*earlier, block._replace(look_at=look_at), *later))
        yield state._replace(blocks=(*earlier, block._replace(problem=PROBLEM), *later))
    level, refill_at, interval = state.budget
    yield state._replace(budget=Budget(level + 1, refill_at, interval))
    yield state._replace(budget=Budget(level, now + 99 if refill_at == NEVER else refill_at - 0.5, interval))
    yield state._replace(budget=Budget(level, refill_at, interval + 1))


def changed_rejections(state: State) -> Iterator[Rejections]:
    told = state.rejections
    yield told._replace(believed=told.believed + 1)
    yield told._replace(allowed_at=state.now + 50)
    yield told._replace(worked=not told.worked)
    yield told._replace(forgive_at=state.now + 70)
    yield told._replace(dropped=(*told.dropped, Dropped("another", state.now + 1, state.now + 2)))
    for number, entry in enumerate(told.dropped):
        for wrong in (
            entry._replace(digest="another"),
            entry._replace(shunned_until=entry.shunned_until - 0.5),
            entry._replace(forget_at=entry.forget_at + 1),
        ):
            yield told._replace(dropped=(*told.dropped[:number], wrong, *told.dropped[number + 1 :]))


def test_the_walks_come_across_everything() -> None:
    kinds = {type(taken.happened) for taken in WALKS}
    answers = {type(taken.happened.answer) for taken in WALKS if isinstance(taken.happened, AnswerReceived)}
    assert len(kinds) == 7
    assert len(answers) == 2 + len({type(answer) for answer in EVERY_ANSWER})


def test_no_step_breaks_a_law() -> None:
    for before, happened, after, told in WALKS:
        assert not broken_by(POLICY, before, happened, after, told)
        assert not broken_in(POLICY, after, after.now)


def test_whatever_is_changed_in_the_outcome_of_a_step_some_law_is_broken() -> None:
    for taken in WALKS:
        for after in changed(taken.after):
            found = broken_by(POLICY, taken.before, taken.happened, after)
            assert found, f"{taken}\nbecame\n{after}"


def _always(state: State) -> Callable[..., State]:
    return lambda *_: state


def test_whatever_is_changed_in_what_time_alone_has_done_some_law_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    aged = [taken for taken in WALKS if taken.before.now < taken.happened.now]
    for before, happened, *_ in aged[::4]:
        settled = settle(POLICY, before, happened.now)
        for wrong in changed(settled):
            monkeypatch.setattr(_laws, "settle", _always(wrong))
            found = broken_by(POLICY, before, happened, step(POLICY, wrong, happened)[0])
            assert found, f"{before}\nbecame\n{wrong}"
