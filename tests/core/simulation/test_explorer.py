"""Every state within reach, of the real step and of steps with one safeguard taken out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from evertoken import (
    BlockKind,
    Challenge,
    Freshness,
    Granted,
    Policy,
    Rejection,
    SendReason,
    SendRequest,
    State,
    Wait,
    WaitReason,
)
from evertoken._grammar import AnswerReceived, BlockLifted, BlockReported, Input, RequestClaimed, TokenRejected
from evertoken._look import decide, freshness
from evertoken._secrecy import replace
from evertoken._states import RequestState, first_state
from evertoken._step import settle
from evertoken._step import step as step_and_tell
from evertoken.happenings import Happening, RejectionJudged
from evertoken.outcomes import Abandoned, Failed
from evertoken.testing import canonical
from evertoken.testing._enabled import EVERY_ANSWER, Alphabet, enabled_inputs
from evertoken.testing._explorer import SMALL_POLICY, _Search, explore
from evertoken.testing.laws import _state_laws
from evertoken.testing.laws._laws import broken_by, liveness_bound
from evertoken.testing.laws._state_laws import broken_in

Step = Callable[[Policy, State, Input], State]

CALM = Alphabet(reports=(), rotates=False, lifts=False)

# name: policy, alphabet, seconds per tick
WORLDS: dict[str, tuple[Policy, Alphabet, float]] = {
    "everything": (SMALL_POLICY, Alphabet(), 1.0),
    "failures, cancellations and rejections": (
        SMALL_POLICY,
        replace(CALM, answers=(EVERY_ANSWER[0], EVERY_ANSWER[-1])),
        1.0,
    ),
    "reports of every kind": (
        SMALL_POLICY,
        Alphabet(
            answers=EVERY_ANSWER[::3],
            reports=((BlockKind.LOCKED, None), (BlockKind.RATE_LIMITED, 2.0), (BlockKind.REFUSED, 1.0)),
        ),
        1.0,
    ),
    "callers with demands, and lives of every length": (
        SMALL_POLICY,
        Alphabet(demands=(0.0, 2.0, 5.0), lifetimes=(8.0, 3.0, 1.0, None), answers=EVERY_ANSWER[::4]),
        1.0,
    ),
    "no leeway": (replace(SMALL_POLICY, leeway=0), Alphabet(lifetimes=(8.0, 4.0, 2.0)), 1.0),
    "jitter and spread": (
        replace(SMALL_POLICY, refresh_jitter_share=0.25, wait_spread=4, wait_spread_share=0.5),
        Alphabet(draws=(0.0, 0.5, 0.96875), answers=EVERY_ANSWER[1::3]),
        0.5,
    ),
    "a shared store": (SMALL_POLICY, Alphabet(shared=True), 1.0),
    "a shared store, jitter and demands": (
        replace(SMALL_POLICY, refresh_jitter_share=0.25, wait_spread=4, wait_spread_share=0.5),
        Alphabet(
            shared=True, draws=(0.0, 0.96875), lifetimes=(8.0, 3.0), demands=(0.0, 2.0), answers=EVERY_ANSWER[::3]
        ),
        0.5,
    ),
    "a secret that is asked for": (SMALL_POLICY, Alphabet(asks=True, answers=EVERY_ANSWER[::2]), 1.0),
    "a secret that is asked for, and a shared store": (
        SMALL_POLICY,
        Alphabet(asks=True, shared=True, answers=EVERY_ANSWER[1::3]),
        1.0,
    ),
    "a budget of one": (replace(SMALL_POLICY, budget_burst=1, budget_interval=8), Alphabet(), 1.0),
}


@pytest.mark.no_cover
@pytest.mark.parametrize("world", WORLDS)
def test_no_state_within_reach_breaks_a_law_and_from_each_a_token_is_within_reach(world: str) -> None:
    policy, alphabet, tick = WORLDS[world]
    found = explore(policy, alphabet=alphabet, tick=tick, max_states=1_200)
    assert not found.violations, str(found)
    assert found.states >= 1_200
    assert 0 < found.slowest <= liveness_bound(policy)


def walked(policy: Policy, state: State) -> float:
    """How long ``state`` needs to get a token if what is in flight is lost, from one deadline to the next."""
    start = state.now
    while freshness(state) not in (Freshness.VALID, Freshness.REFRESH_DUE):
        action = decide(state)
        if isinstance(action, SendRequest):
            break
        state = settle(policy, state, action.until)
    return state.now - start


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "policy", [SMALL_POLICY, replace(SMALL_POLICY, locked_wait=3.5, retry_base=1.25, budget_interval=4.75)]
)
def test_the_time_to_a_token_is_the_same_from_tick_to_tick_as_from_deadline_to_deadline(policy: Policy) -> None:
    search = _Search(policy, Alphabet(), 1.0, 3.0, step_and_tell)
    search.run(1_500, 10)
    needed = [search._time_to_token(position, {}, math.inf) for position in range(len(search.nodes))]
    assert needed == [walked(policy, node.state) for node in search.nodes]
    assert len(set(needed)) > 5


def test_an_exploration_ends_when_no_state_is_left() -> None:
    alphabet = replace(CALM, answers=EVERY_ANSWER[:1], challenges=(), repeats=False)
    found = explore(alphabet=alphabet, max_states=5_000)
    assert found.whole
    assert not found.violations
    assert str(found) == (
        f"{found.states} states (all of them), {found.steps} steps, a token after {found.slowest} s at most"
    )
    assert explore(alphabet=alphabet, max_states=5_000) == found


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"tick": 0}, "tick must be a finite number of seconds above 0"),
        ({"tick": -1}, "tick must be a finite number of seconds above 0"),
        ({"tick": math.nan}, "tick must be a finite number of seconds above 0"),
        ({"latest_answer": -1.0}, "latest_answer must be a finite number of seconds that is not negative"),
        ({"max_states": -4}, "max_states must be a whole number of at least 1"),
        ({"max_states": 10.0}, "max_states must be a whole number of at least 1"),
        ({"max_violations": 0}, "max_violations must be a whole number of at least 1"),
        ({"policy": None}, "policy must be a Policy, not NoneType"),
        ({"alphabet": None}, "alphabet must be a Alphabet, not NoneType"),
    ],
    ids=str,
)
def test_an_exploration_that_could_say_nothing_is_refused(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises((TypeError, ValueError), match=complaint):
        explore(**arguments)


# States that are merged must have one future
# -------------------------------------------


def step(policy: Policy, state: State, happened: Input) -> State:
    """The real one, without what it tells."""
    return step_and_tell(policy, state, happened)[0]


def telling(step: Step) -> Callable[[Policy, State, Input], tuple[State, tuple[Happening, ...]]]:
    """``step``, with what the real one tells."""
    return lambda policy, state, happened: (step(policy, state, happened), step_and_tell(policy, state, happened)[1])


def _walk(alphabet: Alphabet, most: int) -> Iterator[State]:
    """States as they come, breadth first and unmerged."""
    states = [settle(SMALL_POLICY, first_state(SMALL_POLICY), 0.0)]
    for state in states:
        yield state
        if len(states) < most:
            states.append(settle(SMALL_POLICY, state, state.now + 1.0))
            inputs = enabled_inputs(SMALL_POLICY, state, state.now, alphabet)
            states.extend(step(SMALL_POLICY, state, happened) for happened in inputs)


def _futures(state: State, alphabet: Alphabet) -> list[tuple[object, ...]]:
    inputs = enabled_inputs(SMALL_POLICY, state, state.now, alphabet)
    after = [settle(SMALL_POLICY, state, state.now + 1.0)]
    after += [step(SMALL_POLICY, state, happened) for happened in inputs]
    return [canonical(state, state.now) for state in after]


@pytest.mark.no_cover
def test_states_with_one_canonical_form_answer_every_input_alike() -> None:
    alphabet = Alphabet(demands=(0.0, 2.0), answers=EVERY_ANSWER[::2])
    first: dict[tuple[object, ...], State] = {}
    pairs = 0
    for state in _walk(alphabet, 4_000):
        other = first.setdefault(canonical(state, state.now), state)
        if other != state:
            pairs += 1
            assert _futures(state, alphabet) == _futures(other, alphabet)
    assert pairs > 300


# Laws that never speak up would be worth nothing
# -----------------------------------------------


def refunds(policy: Policy, state: State, happened: Input) -> State:
    after = step(policy, state, happened)
    given_up = isinstance(happened, AnswerReceived) and isinstance(happened.answer, Abandoned)
    if given_up and state.attempt is not None and after.attempt is None:
        return after._replace(budget=after.budget._replace(level=after.budget.level + 1))
    return after


def ends_blocks_at_a_second_report(policy: Policy, state: State, happened: Input) -> State:
    after = step(policy, state, happened)
    return after._replace(blocks=()) if isinstance(happened, BlockReported) and state.blocks else after


def forgets_the_back_off_at_a_report(policy: Policy, state: State, happened: Input) -> State:
    after = step(policy, state, happened)
    if isinstance(happened, BlockReported):
        return after._replace(backoff=after.backoff._replace(retry_at=after.now))
    return after


def waits_out_what_was_stated(policy: Policy, state: State, happened: Input) -> State:
    after = step(policy, state, happened)
    return after._replace(backoff=state.backoff) if isinstance(happened, BlockLifted) else after


def claims_without_asking(policy: Policy, state: State, happened: Input) -> State:
    """A step that makes a claim of a report: the law sees it as an attempt that no claim began."""
    if isinstance(happened, BlockReported) and state.attempt is None:
        return step(policy, state, RequestClaimed(happened.now, 0.0))
    return step(policy, state, happened)


def frees_the_slot_for_a_report(policy: Policy, state: State, happened: Input) -> State:
    after = step(policy, state, happened)
    return after._replace(attempt=None) if isinstance(happened, BlockReported) else after


def believes_every_rejection(policy: Policy, state: State, happened: Input) -> State:
    after, told = step_and_tell(policy, state, happened)
    return after._replace(token=None) if told[-1:] == (RejectionJudged(Rejection.KEPT),) else after


def takes_dropped_tokens_back(policy: Policy, state: State, happened: Input) -> State:
    if isinstance(happened, AnswerReceived):
        forgetful = state.rejections._replace(dropped=())
        after = step(policy, state._replace(rejections=forgetful), happened)
        return after._replace(rejections=after.rejections._replace(dropped=state.rejections.dropped))
    return step(policy, state, happened)


def lets_the_older_token_win(policy: Policy, state: State, happened: Input) -> State:
    after = step(policy, state, happened)
    if isinstance(happened, AnswerReceived) and state.lost is not None and happened.id == state.lost.id:
        aged = None if after.token is None else replace(after.token, started=state.lost.started - 1)
        return after._replace(token=aged)
    return after


def lets_an_answer_take_the_token(policy: Policy, state: State, happened: Input) -> State:
    after = step(policy, state, happened)
    failed = isinstance(happened, AnswerReceived) and isinstance(happened.answer, Failed)
    return after._replace(token=None) if failed else after


def brings_the_token_late(policy: Policy, state: State, happened: Input) -> State:
    after = step(policy, state, happened)
    if after.token is None or isinstance(happened, TokenRejected):
        return after
    return after._replace(token=replace(after.token, fresh_until=after.now, refresh_at=after.now))


def keeps_a_token_up_its_sleeve(policy: Policy, state: State, happened: Input) -> State:
    after = step(policy, state, happened)
    if isinstance(happened, BlockLifted) and after.token is not None:
        return after._replace(token=replace(after.token, value="token#9", authorization="Bearer token#9"))
    return after


def runs_late(policy: Policy, state: State, happened: Input) -> State:
    return step(policy, state, happened)._replace(now=happened.now + 1)


def overfills_the_bucket(policy: Policy, state: State, happened: Input) -> State:
    after = step(policy, state, happened)
    return after._replace(budget=after.budget._replace(level=policy.budget_burst + 1))


def mixes_up_the_header(policy: Policy, state: State, happened: Input) -> State:
    after = step(policy, state, happened)
    if after.token is None:
        return after
    return after._replace(token=replace(after.token, expires_at=after.token.started))


_REPORT = "a report of a block leaves token, attempt, back-off, budget and credentials alone"
SABOTAGE: dict[Step, str] = {
    refunds: "the budget is refunded for what was not sent, once, and for nothing else",
    ends_blocks_at_a_second_report: "a reported block stands as long as was said, or our own wait",
    forgets_the_back_off_at_a_report: _REPORT,
    frees_the_slot_for_a_report: _REPORT,
    believes_every_rejection: "a token is dropped only if another can be asked for at once or is on its way",
    takes_dropped_tokens_back: "a dropped token is not handed out again before rejection_interval has passed",
    lets_the_older_token_win: "a token never gives way to one whose request started earlier",
    lets_an_answer_take_the_token: "only a rejection takes the token away",
    brings_the_token_late: "a token is handed out until the leeway, or its share of the lifetime, before its expiry",
    keeps_a_token_up_its_sleeve: "lifting ends every block, and changes nothing else",
    claims_without_asking: _REPORT,
    waits_out_what_was_stated: "lifting ends a stated wait, leaves at most our own back-off, and forgets no failure",
    runs_late: "the machine keeps the largest now of any input",
    overfills_the_bucket: "the budget holds from 0 to budget_burst requests: not 4",
    mixes_up_the_header: "a token's moments stand in order: started, refresh_at, fresh_until, expires_at",
}


@pytest.mark.parametrize("sabotage", SABOTAGE, ids=lambda sabotage: sabotage.__name__)
def test_a_step_without_one_safeguard_breaks_the_law_that_it_guards(sabotage: Step) -> None:
    alphabet = Alphabet(answers=(*EVERY_ANSWER[:2], EVERY_ANSWER[-1]), rotates=False)
    found = explore(alphabet=alphabet, step=telling(sabotage), max_states=5_000, max_violations=30)
    laws = [violation.law for violation in found.violations]
    assert any(law.startswith(SABOTAGE[sabotage]) for law in laws), laws


def test_a_violation_tells_its_shortest_path() -> None:
    found = explore(step=telling(refunds), max_violations=1)
    first = found.violations[0]
    assert str(first) == (
        "the budget is refunded for what was not sent, once, and for nothing else, at 0.0, after\n"
        "    RequestClaimed(now=0.0, draw=0.0, min_ttl=0.0, tiers=0, asks=False)\n"
        "    AnswerReceived(now=0.0, id=1, answer=Abandoned(), seen=None)"
    )
    assert str(found).endswith(str(first))


def never_lets_go(policy: Policy, state: State, happened: Input) -> State:
    after = step(policy, state, happened)
    return after._replace(backoff=after.backoff._replace(retry_at=after.now + 1_000))


def test_a_machine_that_never_recovers_breaks_the_law_of_liveness() -> None:
    alphabet = replace(CALM, answers=EVERY_ANSWER[:1], challenges=(), repeats=False)
    found = explore(alphabet=alphabet, step=telling(never_lets_go), max_states=50, max_violations=1_000)
    assert any(violation.law.startswith("a token is there within 14 s") for violation in found.violations)


def _says_wait(state: State, min_ttl: float = 0.0) -> Wait:
    return Wait(state.now, WaitReason.RETRY)


def _says_send(state: State, min_ttl: float = 0.0) -> SendRequest:
    return SendRequest(SendReason.EXPIRED)


def _says_blocked(_: State) -> RequestState:
    return RequestState.BLOCKED


def _published(quiet_until: float, header: str | None) -> Callable[[Policy, State], tuple[float, str | None]]:
    return lambda policy, state: (quiet_until, header)


VALID_STATE = step(
    SMALL_POLICY,
    step(SMALL_POLICY, first_state(SMALL_POLICY), RequestClaimed(0.0, 0.0)),
    AnswerReceived(0.0, 1, Granted("token#1", 8.0)),
)


def _gives_in(state: State, min_ttl: float = 0.0) -> SendRequest | Wait:
    return SendRequest(SendReason.REFRESH_DUE) if min_ttl else decide(state)


QUERIES = {
    "Wait.until lies ahead": ("decide", _says_wait),
    "no request is started while the token is VALID": ("decide", _says_send),
    "poll says why a request may start": ("decide", _says_send),
    "poll waits for the answer, or for the last of the moments that lie ahead": ("decide", _says_wait),
    "a min_ttl above half of a token's usable life counts as none": ("decide", _gives_in),
    "readers see the header of the token in hand": ("publish", _published(6.0, "Bearer token#2")),
    "no header is handed out from fresh_until on": ("publish", _published(8.0, "Bearer token#1")),
    "the request is blocked until the last block ends": ("request_state", _says_blocked),
    "quiet_until is the next moment at which": ("publish", _published(5.0, "Bearer token#1")),
}


@pytest.mark.parametrize("law", QUERIES)
def test_a_query_that_lies_breaks_the_law_about_it(law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not list(broken_in(SMALL_POLICY, VALID_STATE, 1.0))
    name, lie = QUERIES[law]
    monkeypatch.setattr(_state_laws, name, lie)
    assert any(broken.startswith(law) for broken in broken_in(SMALL_POLICY, VALID_STATE, 1.0))


def test_a_claim_that_poll_does_not_allow_breaks_a_law() -> None:
    claimed = RequestClaimed(1.0, 0.0)
    after = step(SMALL_POLICY, VALID_STATE, claimed)
    law = "no request is started while the token is VALID: start_request, min_ttl 0.0"
    assert law in broken_by(SMALL_POLICY, VALID_STATE, claimed, after)


CLAIMED = step(SMALL_POLICY, first_state(SMALL_POLICY), RequestClaimed(0.0, 0.0))
LOCKED = step(SMALL_POLICY, CLAIMED, BlockReported(1.0, BlockKind.LOCKED, None, 0.0))
"""Locked, by a report, while an attempt is in flight that began before it."""


def test_an_answer_to_nobody_that_changes_something_breaks_a_law() -> None:
    after = CLAIMED._replace(problem=None, next_id=9)
    stray = AnswerReceived(0.0, 7, Abandoned())
    assert "an answer to an attempt that is not remembered changes nothing" in list(
        broken_by(SMALL_POLICY, CLAIMED, stray, after)
    )


def test_a_failure_that_is_not_counted_breaks_a_law() -> None:
    failed = AnswerReceived(1.0, 1, EVERY_ANSWER[0])
    after = step(SMALL_POLICY, CLAIMED, failed)
    after = after._replace(backoff=after.backoff._replace(failures=0))
    assert list(broken_by(SMALL_POLICY, CLAIMED, failed, after)) == ["every failure is counted, and nothing else is"]


def test_a_grant_that_leaves_an_older_block_breaks_a_law() -> None:
    freed = step(SMALL_POLICY, LOCKED, AnswerReceived(1.0, 1, Abandoned()))
    later = freed._replace(attempt=CLAIMED.attempt and CLAIMED.attempt._replace(id=2, started=2.0, deadline=4.0))
    granted = AnswerReceived(3.0, 2, Granted("token#1", 8.0))
    after = step(SMALL_POLICY, later, granted)
    assert not list(broken_by(SMALL_POLICY, later, granted, after))
    law = "a grant clears exactly the blocks that were found before it was asked for"
    assert law in list(broken_by(SMALL_POLICY, later, granted, after._replace(blocks=LOCKED.blocks)))


@pytest.mark.parametrize(
    ("challenge", "law"),
    [
        (Challenge.UNKNOWN, "a 401 that names no cause counts only against a token that has been about"),
        (Challenge.SCA, "only a 401 speaks of the token"),
    ],
)
def test_evidence_that_is_too_thin_breaks_a_law_if_it_is_believed(challenge: Challenge, law: str) -> None:
    rejected = TokenRejected(1.0, "Bearer token#1", challenge)
    believed = step(SMALL_POLICY, VALID_STATE, replace(rejected, challenge=Challenge.TOKEN))
    assert law in list(broken_by(SMALL_POLICY, VALID_STATE, rejected, believed))
    seasoned = replace(rejected, now=3.0)
    believed = step(SMALL_POLICY, VALID_STATE, replace(seasoned, challenge=Challenge.TOKEN))
    assert (law in list(broken_by(SMALL_POLICY, VALID_STATE, seasoned, believed))) is (challenge is Challenge.SCA)


def test_rejections_believed_one_after_another_break_a_law() -> None:
    pausing = VALID_STATE._replace(rejections=VALID_STATE.rejections._replace(allowed_at=5.0))
    rejected = TokenRejected(1.0, "Bearer token#1", Challenge.TOKEN)
    believed = step(SMALL_POLICY, VALID_STATE, rejected)
    law = "rejections are believed at most once in each rejection_interval, which doubles beyond the burst, or at once"
    assert any(found.startswith(law) for found in broken_by(SMALL_POLICY, pausing, rejected, believed))
