"""Doubles without one of the safeguards about blocks, restarts and credentials."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evertoken import BlockKind, ClientCredentials, Policy, State
from evertoken._grammar import AnswerReceived, BlockLifted, BlockReported, CredentialsReplaced, Input
from evertoken._secrecy import replace
from evertoken._snapshot import Snapshot, is_sealed_by, read_snapshot
from evertoken._states import Attempt, BackOff, first_state
from evertoken._step import settle
from evertoken.outcomes import Blocked, Failed
from tests.ablations.double import answers, everywhere, step, steps, whole_machine

__all__ = ()


# Blocks
# -----


@steps("blocks")
def forgets_blocks(policy: Policy, state: State, happened: Input) -> State:
    """The endpoint is asked again at once, whatever block was found."""
    after = step(policy, state, happened)
    closed = isinstance(happened, AnswerReceived) and isinstance(happened.answer, Blocked)
    return after._replace(blocks=state.blocks) if closed else after


@steps("blocks")
def asks_early(policy: Policy, state: State, happened: Input) -> State:
    """The endpoint is asked again after half of the wait of a block."""
    after = step(policy, state, happened)
    if not (isinstance(happened, AnswerReceived) and isinstance(happened.answer, Blocked)):
        return after
    halved = (
        block._replace(until=min(block.until, after.now + (block.until - after.now) / 2)) for block in after.blocks
    )
    return after._replace(blocks=tuple(halved))


@steps("waits of ours double")
def never_waits_longer(policy: Policy, state: State, happened: Input) -> State:
    """The wait of a block that is found again and again stays the same."""
    after = step(policy, state, happened)
    closed = isinstance(happened, AnswerReceived) and isinstance(happened.answer, Blocked)
    times = {block.kind: block.times for block in state.blocks}
    blocks = tuple(block._replace(times=times.get(block.kind, 0)) for block in after.blocks)
    return after._replace(blocks=blocks) if closed else after


@steps("waits of ours double")
def forgets_blocks_that_are_over(policy: Policy, state: State, happened: Input) -> State:
    """A block is forgotten when its time has passed, and with it how often we have waited."""
    after = step(policy, state, happened)
    return after._replace(blocks=after.standing)


@steps("known blocks double nothing")
def doubles_at_every_report(policy: Policy, state: State, happened: Input) -> State:
    """A report of a block that stands doubles its wait."""
    if isinstance(happened, BlockReported) and happened.seconds is None:
        settled = settle(policy, state, happened.now)
        over = tuple(block._replace(until=settled.now) for block in settled.blocks if block.kind is happened.kind)
        others = tuple(block for block in settled.blocks if block.kind is not happened.kind)
        return step(policy, settled._replace(blocks=(*others, *over)), happened)
    return step(policy, state, happened)


@steps("Retry-After")
def ignores_retry_after(policy: Policy, state: State, happened: Input) -> State:
    """What a server states about waiting is not read."""
    if isinstance(happened, AnswerReceived) and isinstance(happened.answer, Failed | Blocked):
        happened = replace(happened, answer=replace(happened.answer, retry_after=None))
    return step(policy, state, happened)


@answers("a rate limit is a failure", BlockKind.RATE_LIMITED)
def comes_back_as_soon_as_it_may(state: State, attempt: Attempt, received: AnswerReceived) -> State:
    """A 429 is no failure, so that a server which states next to nothing is asked at that pace."""
    return state._replace(backoff=state.backoff._replace(failures=-1))


@steps("a grant ends older blocks only")
def ends_every_block(policy: Policy, state: State, happened: Input) -> State:
    """A grant ends blocks, too, that were found after it was asked for."""
    after = step(policy, state, happened)
    return after if after.token is None or after.token is state.token else after._replace(blocks=())


@steps("a grant ends older blocks")
def ends_no_block(policy: Policy, state: State, happened: Input) -> State:
    """A grant leaves every block, though it came through."""
    after = step(policy, state, happened)
    blocks = settle(policy, state, happened.now).blocks
    return after if after.token is None or after.token is state.token else after._replace(blocks=blocks)


@steps("the latest news of a block count")
def keeps_the_oldest_news(policy: Policy, state: State, happened: Input) -> State:
    """A block that is found again is known from when it was first: a grant in between ends it."""
    known = {block.kind: block for block in settle(policy, state, happened.now).blocks}
    after = step(policy, state, happened)
    blocks = (block._replace(found=min(block.found, known.get(block.kind, block).found)) for block in after.blocks)
    return after._replace(blocks=tuple(blocks))


@steps("the latest news of a block count")
def backdates_a_block(policy: Policy, state: State, happened: Input) -> State:
    """A block counts as found long before it was: every grant ends it."""
    after = step(policy, state, happened)
    return after._replace(blocks=tuple(block._replace(found=block.found - 86_400) for block in after.blocks))


@steps("a report is later than a grant of its moment")
def takes_reports_for_answers(policy: Policy, state: State, happened: Input) -> State:
    """What somebody else reports of a block is taken for an answer of the endpoint."""
    after = step(policy, state, happened)
    if not isinstance(happened, BlockReported):
        return after
    return after._replace(blocks=tuple(block._replace(found=min(block.found, after.now)) for block in after.blocks))


@steps("the problem that is told")
def tells_of_blocks_that_are_over(policy: Policy, state: State, happened: Input) -> State:
    """What was wrong is still told when the block has been lifted."""
    after = step(policy, state, happened)
    opened = isinstance(happened, BlockLifted) or _is_rotation(happened)
    return after._replace(problem=settle(policy, state, happened.now).problem) if opened else after


# Over a restart
# --------------


def _reads(patch: pytest.MonkeyPatch, changed: Callable[[Policy, State], State]) -> None:
    def read(grant: ClientCredentials, policy: Policy, snapshot: Snapshot, now: float, elapsed: float) -> State:
        return changed(policy, read_snapshot(grant, policy, snapshot, now, elapsed))

    everywhere(patch, read_snapshot, read)


@whole_machine("blocks over a restart")
def forgets_blocks_when_restarted(patch: pytest.MonkeyPatch) -> None:
    """A snapshot holds no blocks."""
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
    """A snapshot is believed whoever sealed it: under another secret one waits for blocks that the old one earned."""

    def believed(_grant: ClientCredentials, _snapshot: Snapshot) -> bool:
        return True

    everywhere(patch, is_sealed_by, believed)


# Credentials
# -----------


@steps("generations of credentials")
def believes_stale_refusals(policy: Policy, state: State, happened: Input) -> State:
    """A refusal of credentials that were replaced meanwhile blocks the new ones."""
    flying = settle(policy, state, happened.now).attempt
    if not isinstance(happened, AnswerReceived) or not isinstance(happened.answer, Blocked):
        return step(policy, state, happened)
    if flying is not None and flying.id == happened.id:
        state = state._replace(attempt=flying._replace(generation=state.credentials.generation))
    return step(policy, state, happened)


@steps("generations of credentials")
def vouches_for_the_wrong_ones(policy: Policy, state: State, happened: Input) -> State:
    """A grant to the old credentials counts as proof of the new ones."""
    after = step(policy, state, happened)
    if after.token is None or after.token is state.token:
        return after
    return after._replace(credentials=after.credentials._replace(proven=True))


@answers("the first refusal is doubted", BlockKind.REFUSED)
def never_doubts_a_refusal(state: State, attempt: Attempt, received: AnswerReceived) -> State:
    """Credentials that have worked for weeks are given up at the first refusal."""
    return state._replace(credentials=state.credentials._replace(proven=False))


@steps("the first refusal is doubted")
def doubts_every_refusal(policy: Policy, state: State, happened: Input) -> State:
    """Credentials that have worked once are tried again and again."""
    after = step(policy, state, happened)
    return after._replace(
        credentials=after.credentials._replace(proven=after.credentials.proven or state.credentials.proven)
    )


@steps("new credentials lift a lock once")
def knocks_with_every_key(policy: Policy, state: State, happened: Input) -> State:
    """Each replacement of the credentials lifts a lock."""
    if not _is_rotation(happened):
        return step(policy, state, happened)
    lock_lifted = state.credentials.lock_lifted
    after = step(policy, state._replace(credentials=state.credentials._replace(lock_lifted=False)), happened)
    return after._replace(
        credentials=after.credentials._replace(lock_lifted=lock_lifted or after.credentials.lock_lifted)
    )


@steps("new credentials lift refusals so often")
def knocks_with_a_ring_of_keys(policy: Policy, state: State, happened: Input) -> State:
    """Each replacement of the credentials lifts a refused or an unclear block."""
    if not _is_rotation(happened):
        return step(policy, state, happened)
    opened = state.credentials.refusals_lifted
    after = step(policy, state._replace(credentials=state.credentials._replace(refusals_lifted=0)), happened)
    return after._replace(
        credentials=after.credentials._replace(refusals_lifted=opened + after.credentials.refusals_lifted)
    )


@steps("new credentials lift a refusal")
def waits_with_the_right_key(policy: Policy, state: State, happened: Input) -> State:
    """The block that the old credentials earned stands for the new ones."""
    after = step(policy, state, happened)
    return after._replace(blocks=settle(policy, state, happened.now).blocks) if _is_rotation(happened) else after


@steps("the count survives the operator")
def forgets_the_count_when_lifted(policy: Policy, state: State, happened: Input) -> State:
    """Lifting a block, or new credentials, begin the waits at their shortest again."""
    after = step(policy, state, happened)
    lifted = isinstance(happened, BlockLifted) or _is_rotation(happened)
    return after._replace(blocks=tuple(block._replace(times=0) for block in after.blocks)) if lifted else after


def _is_rotation(happened: Input) -> bool:
    return isinstance(happened, CredentialsReplaced)


@answers("late news of a block is stale after a grant", Blocked)
def heeds_overtaken_news(state: State, attempt: Attempt, received: AnswerReceived) -> State:
    """News of a block counts, though something later has been granted."""
    return state._replace(granted_at=min(state.granted_at, attempt.started))
