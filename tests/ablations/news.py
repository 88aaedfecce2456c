"""Doubles without one of the safeguards about closed doors, restarts and credentials."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evertoken import ClientCredentials, Policy, State
from evertoken._decide import settle
from evertoken._inputs import AnswerReceived, BlockLifted, CredentialsReplaced, DoorClosed, Input
from evertoken._records import Attempt, BackOff, Doublings
from evertoken._secrecy import replace
from evertoken._snapshot import Snapshot, read_snapshot
from evertoken._states import first_state
from evertoken.outcomes import Failed, Locked, RateLimited, Refused, Unclear
from tests.ablations.double import answers, everywhere, step, steps, whole_machine

__all__ = ()

_DOORS = (Locked, RateLimited, Refused, Unclear)


# Doors
# -----


@steps("closed doors")
def forgets_closed_doors(policy: Policy, state: State, happened: Input) -> State:
    """A door that was found closed is tried again at once."""
    after = step(policy, state, happened)
    closed = isinstance(happened, AnswerReceived) and isinstance(happened.answer, _DOORS)
    return after._replace(blocks=state.blocks) if closed else after


@steps("closed doors")
def knocks_early(policy: Policy, state: State, happened: Input) -> State:
    """A door that was found closed is tried again after half of its wait."""
    after = step(policy, state, happened)
    if not (isinstance(happened, AnswerReceived) and isinstance(happened.answer, _DOORS)):
        return after
    halved = (block._replace(until=after.now + (block.until - after.now) / 2) for block in after.blocks)
    return after._replace(blocks=tuple(halved))


@steps("waits of ours double")
def never_waits_longer(policy: Policy, state: State, happened: Input) -> State:
    """The wait in front of a door that is found closed again and again stays the same."""
    after = step(policy, state, happened)
    closed = isinstance(happened, AnswerReceived) and isinstance(happened.answer, _DOORS)
    return after._replace(doublings=state.doublings) if closed else after


@steps("known doors double nothing")
def doubles_at_every_report(policy: Policy, state: State, happened: Input) -> State:
    """A report of a door that is known to be closed doubles its wait."""
    if isinstance(happened, DoorClosed) and happened.seconds is None:
        settled = settle(policy, state, happened.now)
        after = step(policy, settled._replace(blocks=()), happened)
        kinds = {block.kind for block in after.blocks}
        return after._replace(blocks=(*(block for block in settled.blocks if block.kind not in kinds), *after.blocks))
    return step(policy, state, happened)


@steps("Retry-After")
def ignores_retry_after(policy: Policy, state: State, happened: Input) -> State:
    """What a server states about waiting is not read."""
    if isinstance(happened, AnswerReceived) and isinstance(happened.answer, Failed | RateLimited):
        happened = replace(happened, answer=replace(happened.answer, retry_after=None))
    return step(policy, state, happened)


@answers("a rate limit is a failure", RateLimited)
def comes_back_as_soon_as_it_may(state: State, attempt: Attempt, received: AnswerReceived) -> State:
    """A 429 is no failure, so that a server which states next to nothing is asked at that pace."""
    return state._replace(backoff=state.backoff._replace(failures=-1))


@steps("a grant opens older doors only")
def opens_every_door(policy: Policy, state: State, happened: Input) -> State:
    """A grant opens doors, too, that were found closed after it was asked for."""
    after = step(policy, state, happened)
    return after if after.token is None or after.token is state.token else after._replace(blocks=())


@steps("a grant opens older doors")
def opens_no_door(policy: Policy, state: State, happened: Input) -> State:
    """A grant leaves every door closed, though it came through."""
    after = step(policy, state, happened)
    blocks = settle(policy, state, happened.now).blocks
    return after if after.token is None or after.token is state.token else after._replace(blocks=blocks)


@steps("the latest news of a door count")
def keeps_the_oldest_news(policy: Policy, state: State, happened: Input) -> State:
    """A door that is found closed again is known from when it was first: a grant in between opens it."""
    known = {block.kind: block for block in settle(policy, state, happened.now).blocks}
    after = step(policy, state, happened)
    blocks = (block._replace(since=min(block.since, known.get(block.kind, block).since)) for block in after.blocks)
    return after._replace(blocks=tuple(blocks))


@steps("the latest news of a door count")
def backdates_a_door(policy: Policy, state: State, happened: Input) -> State:
    """A door counts as closed since long before it was found closed: every grant opens it."""
    after = step(policy, state, happened)
    return after._replace(blocks=tuple(block._replace(since=block.since - 86_400) for block in after.blocks))


@steps("a report is later than a grant of its moment")
def takes_reports_for_answers(policy: Policy, state: State, happened: Input) -> State:
    """What somebody else reports of a door is taken for an answer of the endpoint."""
    after = step(policy, state, happened)
    if not isinstance(happened, DoorClosed):
        return after
    return after._replace(blocks=tuple(block._replace(since=min(block.since, after.now)) for block in after.blocks))


@steps("the problem that is told")
def tells_of_open_doors(policy: Policy, state: State, happened: Input) -> State:
    """What was wrong behind a door is still told when the door has been opened."""
    after = step(policy, state, happened)
    opened = isinstance(happened, BlockLifted) or _is_rotation(happened)
    return after._replace(problem=settle(policy, state, happened.now).problem) if opened else after


# Over a restart
# --------------


def _reads(patch: pytest.MonkeyPatch, changed: Callable[[Policy, State], State]) -> None:
    def read(
        grant: ClientCredentials, policy: Policy, snapshot: Snapshot, now: float, elapsed: float
    ) -> tuple[State, bool]:
        state, is_same_secret = read_snapshot(grant, policy, snapshot, now, elapsed)
        return changed(policy, state), is_same_secret

    everywhere(patch, read_snapshot, read)


@whole_machine("doors over a restart")
def forgets_doors_when_restarted(patch: pytest.MonkeyPatch) -> None:
    """A snapshot holds no closed doors."""
    _reads(patch, lambda policy, state: state._replace(blocks=()))


@whole_machine("budget over a restart")
def is_rich_when_restarted(patch: pytest.MonkeyPatch) -> None:
    """A snapshot holds no budget: each process begins with a full one."""
    _reads(patch, lambda policy, state: state._replace(budget=first_state(policy).budget))


@whole_machine("back-off over a restart")
def is_calm_when_restarted(patch: pytest.MonkeyPatch) -> None:
    """A snapshot holds no back-off: a program that is started again and again asks each time."""
    _reads(patch, lambda policy, state: state._replace(backoff=BackOff()))


@whole_machine("late answers over a restart")
def drops_the_lost_when_restarted(patch: pytest.MonkeyPatch) -> None:
    """A snapshot does not hold the request that was lost: its token is nobody's when it comes."""
    _reads(patch, lambda policy, state: state._replace(lost=None))


@whole_machine("new credentials over a restart")
def brings_no_new_key(patch: pytest.MonkeyPatch) -> None:
    """A process that is started with another secret waits in front of the door that the old one closed."""

    def read(
        grant: ClientCredentials, policy: Policy, snapshot: Snapshot, now: float, elapsed: float
    ) -> tuple[State, bool]:
        return read_snapshot(grant, policy, snapshot, now, elapsed)[0], True

    everywhere(patch, read_snapshot, read)


# Credentials
# -----------


@steps("generations of credentials")
def believes_stale_refusals(policy: Policy, state: State, happened: Input) -> State:
    """A refusal of credentials that were replaced meanwhile closes the door to the new ones."""
    flying = settle(policy, state, happened.now).attempt
    if not isinstance(happened, AnswerReceived) or not isinstance(happened.answer, Refused):
        return step(policy, state, happened)
    if flying is not None and flying.id == happened.id:
        state = state._replace(attempt=flying._replace(generation=state.keys.generation))
    return step(policy, state, happened)


@steps("generations of credentials")
def vouches_for_the_wrong_ones(policy: Policy, state: State, happened: Input) -> State:
    """A grant to the old credentials counts as proof of the new ones."""
    after = step(policy, state, happened)
    if after.token is None or after.token is state.token:
        return after
    return after._replace(keys=after.keys._replace(vouched=True))


@answers("the first refusal is doubted", Refused)
def never_doubts_a_refusal(state: State, attempt: Attempt, received: AnswerReceived) -> State:
    """Credentials that have worked for weeks are given up at the first refusal."""
    return state._replace(keys=state.keys._replace(vouched=False))


@steps("the first refusal is doubted")
def doubts_every_refusal(policy: Policy, state: State, happened: Input) -> State:
    """Credentials that have worked once are tried again and again."""
    after = step(policy, state, happened)
    return after._replace(keys=after.keys._replace(vouched=after.keys.vouched or state.keys.vouched))


@steps("new credentials open a lock once")
def knocks_with_every_key(policy: Policy, state: State, happened: Input) -> State:
    """Each replacement of the credentials opens a locked door."""
    if not _is_rotation(happened):
        return step(policy, state, happened)
    unlocked = state.keys.unlocked
    after = step(policy, state._replace(keys=state.keys._replace(unlocked=False)), happened)
    return after._replace(keys=after.keys._replace(unlocked=unlocked or after.keys.unlocked))


@steps("new credentials open refused doors so often")
def knocks_with_a_ring_of_keys(policy: Policy, state: State, happened: Input) -> State:
    """Each replacement of the credentials opens a refused or an unclear door."""
    if not _is_rotation(happened):
        return step(policy, state, happened)
    opened = state.keys.opened
    after = step(policy, state._replace(keys=state.keys._replace(opened=0)), happened)
    return after._replace(keys=after.keys._replace(opened=opened + after.keys.opened))


@steps("new credentials open a refused door")
def waits_with_the_right_key(policy: Policy, state: State, happened: Input) -> State:
    """The door that the old credentials closed stays closed to the new ones."""
    after = step(policy, state, happened)
    return after._replace(blocks=settle(policy, state, happened.now).blocks) if _is_rotation(happened) else after


@steps("the count survives the operator")
def forgets_the_count_when_lifted(policy: Policy, state: State, happened: Input) -> State:
    """Lifting a block, or new credentials, begin the waits at their shortest again."""
    after = step(policy, state, happened)
    lifted = isinstance(happened, BlockLifted) or _is_rotation(happened)
    return after._replace(doublings=Doublings()) if lifted else after


def _is_rotation(happened: Input) -> bool:
    return isinstance(happened, CredentialsReplaced)


@answers("late news of a door is stale after a grant", *_DOORS)
def heeds_overtaken_news(state: State, attempt: Attempt, received: AnswerReceived) -> State:
    """News of a closed door counts, though something later has been granted."""
    return state._replace(granted_at=min(state.granted_at, attempt.started))
