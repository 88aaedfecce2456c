"""What a fleet shares, as one value; and each thing that can happen to it, as a function from record to record.

Nothing here knows of stores, keys or calls: a driver loads a record, has it changed by one of these functions, and
swaps it in as a whole, or does it again with what stands there then. So each change is one atomic step, and every rule
about what may overwrite what is in this file.

**Order is by number and never by time.** Each lease has a number that grows. What comes of an exchange is written only
over what came of an exchange with a lower number: a process that slept through its lease and wakes up with an old token
or an old refusal changes nothing that is newer. Numbers also follow the store's clock upwards, so that they go on
growing after a store has lost its data.

**Two slots.** A grant and a block stand beside each other: a refusal never takes a token away that others still use. A
grant clears a block of a lower number; a block is written only if its number is above that of the grant.

**The account is the fleet's.** Failures in a row and their back-off, how often each kind of block has doubled, and the
budget are counted here, because fifty processes with an account each would knock fifty times as often.

Moments in a record are on the store's clock. If that has gone back since the record was written, all of them go back
with it, and the token is void: nobody knows how old it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from evertoken import _schedule
from evertoken._policy import TICK, Policy, whole_ticks
from evertoken._problems import Problem, ProblemKind
from evertoken._secrecy import Unpicklable
from evertoken._shared_problems import LOST, REPORTED
from evertoken._states import LONG_AGO, MOST_DOUBLINGS, NEVER, BlockKind, Budget
from evertoken.outcomes import Blocked, Failed, Granted, Malformed

_MOST_BARS = 64
"""Hosts that are turned away are remembered one by one; of more than so many, the latest."""


class Lease(NamedTuple):
    """The right to ask, which whoever drew ``nonce`` has from ``since`` until ``until``, or until it is given back."""

    nonce: str
    since: float
    until: float
    n: int


@dataclass(frozen=True, slots=True)
class Grant(Unpicklable):
    """A token as it was granted. ``asked`` is when, on the store's clock; ``wall`` on the wall clock of who asked."""

    granted: Granted
    asked: float
    wall: float
    n: int


class Closed(NamedTuple):
    """A block. From ``look`` on, a store behind this one is to be asked whether it stands; None if there is no such."""

    kind: BlockKind
    ends: float
    look: float | None
    asked: float
    n: int
    problem: Problem


class Bar(NamedTuple):
    """One host that is turned away, as by an allowlist or by a proxy of its own, and does not ask before ``until``."""

    host: str
    until: float
    times: int
    problem: Problem


class Account(NamedTuple):
    """What is counted over all processes.

    ``failures`` are those in a row, ``malformed`` the latest of them that no repetition will mend; nobody asks before
    ``retry_at``. ``problem`` is that of the last failure. ``times`` says how often each kind of block was met in a row.
    ``vouched`` says that these credentials were granted with.
    """

    budget: Budget
    failures: int = 0
    malformed: int = 0
    retry_at: float = LONG_AGO
    problem: Problem | None = None
    times: tuple[tuple[BlockKind, int], ...] = ()
    vouched: bool = False


class Record(NamedTuple):
    """All that is shared under one key. ``n`` is the highest number given; blocks up to ``floor`` were lifted.

    ``written`` is the store's clock at the last change.
    """

    account: Account
    n: int = 0
    floor: int = 0
    written: float = LONG_AGO
    grant: Grant | None = None
    block: Closed | None = None
    lease: Lease | None = None
    bars: tuple[Bar, ...] = ()


def blank(policy: Policy) -> Record:
    """The record where none is stored yet."""
    return Record(Account(Budget(policy.budget_burst, NEVER, whole_ticks(policy.budget_interval))))


# As it stands now
# ================


def settled(policy: Policy, record: Record, now: float, *, holder_lives: bool | None = None) -> Record:
    """``record`` as it stands at ``now``: moments on a clock that went back are moved, and a lost lease is counted.

    A lease is lost when it runs out, or its holder is known to have died, and counts as one failure: a process that
    dies of what it does with the answer must not have the next one do the same at once.
    """
    behind = record.written - now
    if behind > clock_doubt(policy):
        record = _moved(record, -behind)
    lease = record.lease
    if lease is None or (now < lease.until and holder_lives is not False):
        return record
    # Those who wait draw the same number, from what they all see, or each would see another back-off.
    draw = lease.n % 1024 / 1024
    begun = lease.until if now >= lease.until else lease.since
    return record._replace(lease=None, account=_one_more_failure(policy, record.account, begun, LOST, draw))


def clock_doubt(policy: Policy) -> float:
    """By how many seconds a store's clock may go back before a token is void: it is set, a little, all the time."""
    return policy.store_wait * 0.1


def _moved(record: Record, seconds: float) -> Record:
    account, lease, block = record.account, record.lease, record.block
    budget = account.budget._replace(refill_at=account.budget.refill_at + seconds)
    return record._replace(
        account=account._replace(budget=budget, retry_at=account.retry_at + seconds),
        written=record.written + seconds,
        grant=None,
        block=None if block is None else _moved_block(block, seconds),
        lease=None if lease is None else lease._replace(since=lease.since + seconds, until=lease.until + seconds),
        bars=tuple([bar._replace(until=bar.until + seconds) for bar in record.bars]),
    )


def _moved_block(block: Closed, seconds: float) -> Closed:
    look = None if block.look is None else block.look + seconds
    return block._replace(ends=block.ends + seconds, look=look, asked=block.asked + seconds)


def _one_more_failure(
    policy: Policy, account: Account, now: float, problem: Problem, draw: float, *, lasting: bool = False
) -> Account:
    failures = min(account.failures + 1, MOST_DOUBLINGS)
    malformed = min(account.malformed + 1, MOST_DOUBLINGS) if lasting else 0
    retry_at = max(account.retry_at, now + _schedule.back_off(policy, failures, draw, malformed))
    return account._replace(failures=failures, malformed=malformed, retry_at=retry_at, problem=problem)


def free_at(policy: Policy, record: Record, now: float) -> float:
    """From when on the back-off and the budget of the fleet let anybody ask: a moment in the past, if that is now."""
    budget = _schedule.refill(policy, record.account.budget, now)
    return max(record.account.retry_at, LONG_AGO if budget.level > 0 else budget.refill_at)


def life_of(policy: Policy, granted: Granted) -> float:
    """For how many seconds the token lives, as far as ``policy`` believes the endpoint."""
    return min(policy.default_lifetime if granted.expires_in is None else granted.expires_in, policy.max_lifetime)


# The lease
# =========


def _next_number(record: Record, now: float) -> int:
    """A number above all that were given, also above those that the store has lost: its clock has gone on since."""
    return max(record.n + 1, int(now / TICK))


def acquired(policy: Policy, record: Record, now: float, *, nonce: str, seconds: float) -> Record:
    """A process that has looked at this very record takes the lease, and the fleet is charged for one request."""
    n = _next_number(record, now)
    account = record.account
    account = account._replace(budget=_schedule.charge(policy, _at_most(policy, account.budget), now))
    return record._replace(account=account, n=n, lease=Lease(nonce, now, now + seconds, n), written=now)


def _at_most(policy: Policy, budget: Budget) -> Budget:
    """The bucket with no more in it than ours holds: a process with a larger one may have written that down."""
    return budget._replace(level=min(budget.level, policy.budget_burst))


def released(policy: Policy, record: Record, now: float, lease: Lease, *, unused: bool = True) -> Record:
    """Whoever holds the lease gives it back, and the charge with it if it was ``unused``. Another's lease stays."""
    if record.lease is None or record.lease.nonce != lease.nonce:
        return record
    account = record.account
    if unused:
        account = account._replace(budget=_schedule.give_back(policy, account.budget, now))
    return record._replace(account=account, lease=None, written=now)


# What came of an exchange
# ========================


def kept(policy: Policy, record: Record, now: float, lease: Lease, grant: Grant) -> Record:
    """A token was granted. It is kept although the lease is lost, since others can use it, unless a newer one is there.

    It ends the fleet's failures and back-off, and a block that was met before it was asked for.
    """
    record = released(policy, record, now, lease, unused=False)
    if record.grant is not None and record.grant.n >= grant.n:
        return record
    account, block = record.account, record.block
    account = Account(_schedule.retuned(policy, account.budget, now, life_of(policy, grant.granted)), vouched=True)
    block = None if block is not None and block.n < grant.n else block
    if block is not None:
        account = account._replace(times=record.account.times)
    return record._replace(account=account, n=max(record.n, grant.n), grant=grant, block=block, written=now)


def refused(
    policy: Policy,
    record: Record,
    now: float,
    lease: Lease,
    blocked: Blocked,
    *,
    asked: float,
    draw: float,
    moments: tuple[float, float] | None = None,
) -> Record:
    """The endpoint is closed to all who would ask like this. ``moments``: when a store behind says to look, and ends.

    How long is computed here, once for the fleet. It is written only if nothing of a higher number is known, and not
    if an operator has lifted blocks since the lease was given.
    """
    record = released(policy, record, now, lease, unused=False)
    known = max(record.floor, record.block.n if record.block else 0, record.grant.n if record.grant else 0)
    if lease.n <= known:
        return record
    if moments is not None:
        look, ends = moments
        closed = Closed(blocked.kind, ends, look, asked, lease.n, blocked.problem)
        return record._replace(block=closed, written=now)
    wait, account = _wait_for(policy, record.account, blocked, draw)
    closed = Closed(blocked.kind, now + wait, None, asked, lease.n, blocked.problem)
    return record._replace(account=account, block=closed, written=now)


def _wait_for(policy: Policy, account: Account, blocked: Blocked, draw: float) -> tuple[float, Account]:
    """As long as was stated, and as long as our own wait, which doubles each time that such a block is met in a row.

    A rate limit that states its wait has no other. Credentials that were granted with are doubted but a little.
    """
    kind = blocked.kind
    times = dict(account.times)
    stated = 0.0
    if blocked.retry_after is not None:
        _, cap = _schedule.wait_and_cap(policy, kind)
        stated = _schedule.stated_wait(policy, blocked.retry_after, cap, draw)
    if kind is BlockKind.RATE_LIMITED and blocked.retry_after is not None:
        return max(TICK, stated), account
    if account.vouched and blocked.problem.kind is ProblemKind.CREDENTIALS_REFUSED:
        return max(whole_ticks(policy.doubted_refusal_wait), stated), account._replace(vouched=False)
    own = _schedule.own_wait(policy, kind, times.get(kind, 0))
    times[kind] = min(times.get(kind, 0) + 1, MOST_DOUBLINGS)
    counted = tuple([(kind, times[kind]) for kind in BlockKind if kind in times])
    return max(own, stated), account._replace(times=counted)


def failed(
    policy: Policy, record: Record, now: float, lease: Lease, outcome: Failed | Malformed, *, draw: float
) -> Record:
    """The exchange came to nothing. All back off: else the next in line would ask at once, and then the one after it.

    If the lease was lost meanwhile, the failure was counted then.
    """
    after = released(policy, record, now, lease, unused=False)
    if after is record:
        return record
    lasting = isinstance(outcome, Malformed) or outcome.lasting
    account = _one_more_failure(policy, after.account, now, outcome.problem, draw, lasting=lasting)
    if isinstance(outcome, Failed) and outcome.retry_after is not None:
        wait = _schedule.stated_wait(policy, outcome.retry_after, policy.rate_limited_wait_cap, draw)
        account = account._replace(retry_at=max(account.retry_at, now + wait))
    return after._replace(account=account)


def barred(
    policy: Policy, record: Record, now: float, lease: Lease, blocked: Blocked, *, host: str, draw: float
) -> Record:
    """This host is turned away, which says nothing of others: they may ask, in a moment, and it goes on looking.

    Its charge is given back, or the barred hosts of a fleet would use up the budget of the one that is not.
    """
    after = released(policy, record, now, lease)
    old = next((bar for bar in after.bars if bar.host == host), None)
    times = 0 if old is None else old.times
    wait = _schedule.own_wait(policy, BlockKind.UNCLEAR, times)
    if blocked.retry_after is not None:
        stated = _schedule.stated_wait(policy, blocked.retry_after, policy.unclear_wait_cap, draw)
        wait = max(wait, stated)
    news = Bar(host, now + wait, min(times + 1, MOST_DOUBLINGS), blocked.problem)
    bars = sorted([*(bar for bar in after.bars if bar.host != host), news], key=lambda bar: bar.until)
    pause = whole_ticks(policy.retry_base * (0.5 + 0.5 * draw))
    account = after.account._replace(retry_at=max(after.account.retry_at, now + pause))
    return after._replace(account=account, bars=tuple(bars[-_MOST_BARS:]), written=now)


# The word of an operator, and of an API
# ======================================


def unblocked(record: Record, now: float) -> Record:
    """The operator's word: the block is gone, every bar, and the wait after failures. Counters and budget stay.

    It takes a number, so that a refusal that is still on its way to the store does not close it again.
    """
    n = _next_number(record, now)
    account = record.account._replace(retry_at=LONG_AGO)
    return record._replace(account=account, n=n, floor=n, block=None, bars=(), written=now)


def reported(
    policy: Policy, record: Record, now: float, kind: BlockKind, seconds: float | None, *, draw: float
) -> Record:
    """An API has said that the account is locked, for ``seconds`` if it knows.

    A report of a block that stands already doubles nothing.
    """
    block, account = record.block, record.account
    n = _next_number(record, now)
    if block is not None and (block.kind is not kind or now >= block.ends):
        block = None
    if seconds is not None:
        _, cap = _schedule.wait_and_cap(policy, kind)
        wait = _schedule.stated_wait(policy, seconds, cap, draw)
    elif block is not None:
        wait = 0.0
    else:
        wait, account = _wait_for(policy, account, Blocked(kind, REPORTED[kind]), draw)
    if block is not None:
        return record._replace(n=n, block=block._replace(ends=max(block.ends, now + wait), n=n), written=now)
    closed = Closed(kind, now + wait, None, now, n, REPORTED[kind])
    return record._replace(account=account, n=n, block=closed, written=now)
