"""What may be written over what in a shared record, and what the account of a fleet counts."""

from __future__ import annotations

import math

import pytest

from evertoken import Blocked, BlockKind, Failed, Granted, Malformed, Policy, Problem, ProblemKind
from evertoken.sharing import _record
from evertoken.sharing._record import Grant, Lease, Record
from tests.kits import canary

POLICY = Policy()
NOW = 1_000_000.0
BUSY = Problem(ProblemKind.SERVER, "The server cannot serve now")
LOCKED = Blocked(BlockKind.LOCKED, Problem(ProblemKind.LOCKED, "Locked out"))
REFUSED = Blocked(BlockKind.REFUSED, Problem(ProblemKind.CREDENTIALS_REFUSED, "Refused"))
UNCLEAR = Blocked(BlockKind.UNCLEAR, Problem(ProblemKind.UNCLEAR, "403"))
LIMITED = Blocked(BlockKind.RATE_LIMITED, Problem(ProblemKind.RATE_LIMITED, "429"))


def taken(record: Record | None = None, now: float = NOW, nonce: str = "a-1") -> tuple[Record, Lease]:
    record = record or _record.blank(POLICY)
    record = _record.acquired(POLICY, record, now, nonce=nonce, seconds=15)
    assert record.lease is not None
    return record, record.lease


def token(lease: Lease, n: int = 0) -> Grant:
    return Grant(Granted(canary.token(n), 1_200), lease.since, lease.since, lease.n)


def refused(record: Record, now: float, lease: Lease, blocked: Blocked, draw: float = 0.0) -> Record:
    return _record.refused(POLICY, record, now, lease, blocked, asked=lease.since, draw=draw)


def test_who_takes_the_lease_is_charged_once_and_has_a_number_of_its_own() -> None:
    record, lease = taken()
    assert record.account.budget.level == POLICY.budget_burst - 1
    assert (lease.since, lease.until) == (NOW, NOW + 15)
    _, second = taken(_record.released(POLICY, record, NOW, lease), NOW)
    assert second.n > lease.n


def test_numbers_go_on_growing_where_the_store_has_lost_its_data() -> None:
    _, lease = taken()
    _, later = taken(_record.blank(POLICY), NOW + 1)
    assert later.n > lease.n


def test_a_lease_that_is_given_back_unused_is_not_charged_and_nobody_gives_back_anothers() -> None:
    record, lease = taken()
    back = _record.released(POLICY, record, NOW + 1, lease)
    assert (back.lease, back.account.budget.level) == (None, POLICY.budget_burst)
    assert _record.released(POLICY, record, NOW, lease._replace(nonce="b-1")) is record
    spent = _record.released(POLICY, record, NOW, lease, unused=False)
    assert spent.account.budget.level == POLICY.budget_burst - 1


def test_a_bucket_that_another_policy_has_filled_holds_no_more_than_ours() -> None:
    rich = _record.blank(Policy(budget_burst=50))
    record, _ = taken(rich)
    assert record.account.budget.level == POLICY.budget_burst - 1


# A lease that was lost
# ---------------------


def test_a_lease_that_runs_out_is_one_failure_for_everybody_and_for_everybody_the_same() -> None:
    record, lease = taken()
    assert _record.settled(POLICY, record, lease.until - 1) is record
    lost = _record.settled(POLICY, record, lease.until)
    assert lost.lease is None
    assert lost.account.failures == 1
    assert lease.until + 0.5 <= lost.account.retry_at <= lease.until + 1
    assert _record.settled(POLICY, record, lease.until + 50) == lost


@pytest.mark.parametrize("lives", [True, None])
def test_a_holder_that_lives_keeps_its_lease(lives: bool | None) -> None:
    record, _ = taken()
    assert _record.settled(POLICY, record, NOW + 1, holder_lives=lives) is record


def test_the_lease_of_a_holder_that_died_is_over_at_once_with_a_back_off_from_its_beginning() -> None:
    record, _ = taken()
    lost = _record.settled(POLICY, record, NOW + 3, holder_lives=False)
    assert lost.lease is None
    assert _record.free_at(POLICY, lost, NOW + 3) <= NOW + 1


# The clock of the store
# ----------------------


def test_where_the_clock_of_the_store_went_back_all_moments_go_back_and_the_token_is_void() -> None:
    record, lease = taken()
    record = _record.kept(POLICY, record, NOW, lease, token(lease))
    record, lease = taken(record, NOW + 10)
    record = refused(record, NOW + 10, lease, LOCKED)
    record, lease = taken(record, NOW + 10)
    record = _record.barred(POLICY, record, NOW + 10, lease, UNCLEAR, host="here", draw=0.0)
    record, _ = taken(record, NOW + 10)
    moved = _record.settled(POLICY, record, NOW - 90)
    assert moved.grant is None
    assert moved.block is not None
    assert moved.block.ends == NOW - 90 + 900
    assert moved.lease is not None
    assert moved.lease.until == NOW - 90 + 15
    assert moved.bars[0].until == NOW - 90 + 60
    assert moved.account.budget.refill_at == record.account.budget.refill_at - 100
    look = record._replace(block=moved.block._replace(look=NOW + 30), lease=None)
    after = _record.settled(POLICY, look, NOW - 90)
    assert after.block is not None
    assert after.block.look == NOW - 70
    bare = _record.settled(POLICY, _record.blank(POLICY)._replace(written=NOW), 0.0)
    assert (bare.block, bare.lease, bare.written) == (None, None, 0.0)


def test_a_clock_that_is_set_a_little_is_no_clock_that_went_back() -> None:
    record, lease = taken()
    record = _record.kept(POLICY, record, NOW, lease, token(lease))
    assert _record.settled(POLICY, record, NOW - 0.5) is record


# What may be written over what
# -----------------------------


def test_a_grant_gives_the_lease_back_and_ends_what_was_wrong_before_it() -> None:
    record, lease = taken()
    record = _record.failed(POLICY, record, NOW, lease, Failed(BUSY), draw=0.5)
    record, lease = taken(record, NOW + 10)
    record = refused(record, NOW + 10, lease, LOCKED)
    record, lease = taken(record, NOW + 2_000)
    record = _record.kept(POLICY, record, NOW + 2_001, lease, token(lease))
    assert record.lease is None
    assert record.block is None
    assert record.account[1:] == (0, 0, -math.inf, None, (), True)


def test_a_late_token_is_good_for_others_and_takes_no_lease_away() -> None:
    record, slept = taken()
    record, lease = taken(_record.settled(POLICY, record, NOW + 20), NOW + 20, "b-1")
    record = _record.kept(POLICY, record, NOW + 21, slept, token(slept))
    assert record.lease == lease
    assert record.grant == token(slept)


def test_a_late_token_never_replaces_a_younger_one() -> None:
    record, slept = taken()
    record, lease = taken(_record.settled(POLICY, record, NOW + 20), NOW + 20, "b-1")
    record = _record.kept(POLICY, record, NOW + 21, lease, token(lease, 1))
    assert _record.kept(POLICY, record, NOW + 22, slept, token(slept)) is record
    ours = record._replace(lease=slept)
    assert _record.kept(POLICY, ours, NOW + 22, slept, token(slept)).grant == token(lease, 1)


def test_a_late_token_does_not_open_a_door_that_was_shut_since() -> None:
    record, slept = taken()
    record, lease = taken(_record.settled(POLICY, record, NOW + 20), NOW + 20, "b-1")
    record = refused(record, NOW + 21, lease, LOCKED)
    record = _record.kept(POLICY, record, NOW + 22, slept, token(slept))
    assert record.block is not None
    assert record.account.times == ((BlockKind.LOCKED, 1),)


def test_a_refusal_never_takes_a_token_away() -> None:
    record, lease = taken()
    record = _record.kept(POLICY, record, NOW, lease, token(lease))
    record, later = taken(record, NOW + 10)
    record = refused(record, NOW + 11, later, LOCKED)
    assert record.grant == token(lease)
    assert record.block is not None


def test_a_late_refusal_does_not_shut_a_door_behind_which_a_token_was_granted_since() -> None:
    record, slept = taken()
    record, lease = taken(_record.settled(POLICY, record, NOW + 20), NOW + 20, "b-1")
    record = _record.kept(POLICY, record, NOW + 21, lease, token(lease))
    assert refused(record, NOW + 22, slept, LOCKED) is record


def test_a_refusal_that_was_on_its_way_does_not_shut_again_what_an_operator_has_opened() -> None:
    record, lease = taken()
    opened = _record.unblocked(record, NOW + 1)
    assert refused(opened, NOW + 2, lease, LOCKED).block is None
    record = refused(record, NOW + 2, lease, LOCKED)
    assert _record.unblocked(record, NOW + 3).block is None


def test_the_word_of_an_operator_ends_waits_and_bars_and_forgets_no_counter() -> None:
    record, lease = taken()
    record = _record.failed(POLICY, record, NOW, lease, Failed(BUSY, 4_000), draw=0.5)
    record, lease = taken(record, NOW)
    record = _record.barred(POLICY, record, NOW, lease, UNCLEAR, host="here", draw=0.5)
    opened = _record.unblocked(record, NOW)
    assert opened.bars == ()
    assert _record.free_at(POLICY, opened, NOW) <= NOW
    assert opened.account.failures == 1
    assert opened.account.budget == record.account.budget


# Failures
# --------


def test_failures_double_the_back_off_of_the_fleet_and_a_stated_wait_is_kept() -> None:
    record, now, waits = _record.blank(POLICY), NOW, []
    for _ in range(4):
        record, lease = taken(record, now)
        record = _record.failed(POLICY, record, now, lease, Failed(BUSY), draw=0.0)
        waits.append(record.account.retry_at - now)
        now = record.account.retry_at
    assert waits == [0.5, 1, 2, 4]
    record, lease = taken(record, now)
    record = _record.failed(POLICY, record, now, lease, Failed(BUSY, 100), draw=0.0)
    assert _record.free_at(POLICY, record, now) == now + 100
    assert record.account.problem == BUSY


def test_what_no_repetition_will_mend_backs_off_longer() -> None:
    record, lease = taken()
    record = _record.failed(POLICY, record, NOW, lease, Malformed(BUSY), draw=0.0)
    assert (record.account.failures, record.account.malformed) == (1, 1)
    record, lease = taken(record, NOW + 10)
    record = _record.failed(POLICY, record, NOW + 10, lease, Failed(BUSY), draw=0.0)
    assert (record.account.failures, record.account.malformed) == (2, 0)


def test_a_failure_whose_lease_was_lost_was_counted_then() -> None:
    record, lease = taken()
    lost = _record.settled(POLICY, record, NOW + 20)
    assert _record.failed(POLICY, lost, NOW + 20, lease, Failed(BUSY), draw=0.5) is lost


# Blocks
# ------


def test_the_wait_of_a_block_doubles_for_the_fleet() -> None:
    record, now, waits = _record.blank(POLICY), NOW, []
    for _ in range(3):
        record, lease = taken(record, now)
        record = refused(record, now, lease, LOCKED)
        assert record.block is not None
        waits.append(record.block.ends - now)
        now = record.block.ends
    assert waits == [900, 1_800, 3_600]


def test_a_stated_wait_is_never_cut_and_a_rate_limit_that_states_one_has_no_other() -> None:
    record, lease = taken()
    after = refused(record, NOW, lease, Blocked(BlockKind.LOCKED, LOCKED.problem, 5_000))
    assert after.block is not None
    assert after.block.ends == NOW + 5_000
    limited = refused(record, NOW, lease, Blocked(BlockKind.RATE_LIMITED, LIMITED.problem, 10))
    assert limited.block is not None
    assert limited.block.ends == NOW + 10
    assert limited.account.times == ()
    unstated = refused(record, NOW, lease, LIMITED)
    assert unstated.block is not None
    assert unstated.block.ends == NOW + 60


def test_the_first_refusal_of_credentials_that_were_granted_with_is_doubted() -> None:
    record, lease = taken()
    record = _record.kept(POLICY, record, NOW, lease, token(lease))
    for wait in (300, 3_600):
        record, lease = taken(record, NOW + 10)
        record = refused(record, NOW + 10, lease, REFUSED)
        assert record.block is not None
        assert record.block.ends == NOW + 10 + wait


def test_a_block_of_a_store_behind_has_its_moments() -> None:
    record, lease = taken()
    after = _record.refused(POLICY, record, NOW, lease, LOCKED, asked=NOW, draw=0.0, moments=(NOW + 40, NOW + 800))
    assert after.block is not None
    assert (after.block.look, after.block.ends) == (NOW + 40, NOW + 800)
    assert after.account.times == ()


def test_a_report_of_an_api_shuts_the_door_and_doubles_nothing_while_it_stands() -> None:
    record = _record.reported(POLICY, _record.blank(POLICY), NOW, BlockKind.LOCKED, None, draw=0.0)
    assert record.block is not None
    assert record.block.ends == NOW + 900
    again = _record.reported(POLICY, record, NOW + 10, BlockKind.LOCKED, None, draw=0.0)
    assert again.block is not None
    assert (again.block.ends, again.account.times) == (NOW + 900, ((BlockKind.LOCKED, 1),))
    longer = _record.reported(POLICY, again, NOW + 10, BlockKind.LOCKED, 2_000, draw=0.0)
    assert longer.block is not None
    assert longer.block.ends == NOW + 2_010
    other = _record.reported(POLICY, longer, NOW + 10, BlockKind.RATE_LIMITED, 5, draw=0.0)
    assert other.block is not None
    assert other.block.kind is BlockKind.RATE_LIMITED


# Bars
# ----


def test_a_host_that_is_turned_away_bars_itself_and_nobody_else_for_long() -> None:
    record, lease = taken()
    record = _record.barred(POLICY, record, NOW, lease, UNCLEAR, host="here", draw=0.0)
    assert record.block is None
    assert record.lease is None
    assert record.account.budget.level == POLICY.budget_burst
    assert record.bars[0].until == NOW + 60
    assert _record.free_at(POLICY, record, NOW) == NOW + 0.5
    record, lease = taken(record, NOW + 60)
    record = _record.barred(POLICY, record, NOW + 60, lease, UNCLEAR, host="here", draw=0.0)
    assert [bar.until for bar in record.bars] == [NOW + 60 + 120]
    record, lease = taken(record, NOW + 200)
    stated = Blocked(BlockKind.UNCLEAR, UNCLEAR.problem, 1_000)
    record = _record.barred(POLICY, record, NOW + 200, lease, stated, host="there", draw=0.0)
    assert [(bar.host, bar.until) for bar in record.bars] == [("here", NOW + 180), ("there", NOW + 1_200)]


def test_of_many_barred_hosts_the_latest_are_remembered() -> None:
    record = _record.blank(POLICY)
    for n in range(100):
        record, lease = taken(record, NOW + n)
        record = _record.barred(POLICY, record, NOW + n, lease, UNCLEAR, host=f"host {n}", draw=0.0)
    assert len(record.bars) == 64
    assert record.bars[-1].host == "host 99"
