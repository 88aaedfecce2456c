"""Every interleaving of a small fleet with a store, an endpoint and faults: the real machines, step by step.

A world is a value: :func:`steps` gives every next one. Time passes, by one second, only when nobody can do anything.
The sealing of records is left out, since it would take most of the time and decides nothing. What must never be true is
raised as :class:`Broken` by the step that makes it so.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from evertoken import Blocked, Challenge, ClientCredentials, Granted, HttpResponse, Policy, SendRequest, TokenMachine
from evertoken._step import digest
from evertoken.sharing import (
    Acquire,
    Answer,
    Ask,
    Fail,
    Found,
    Load,
    Over,
    Postpone,
    Send,
    Sharing,
    Sleep,
    Swapped,
    _record,
)
from evertoken.sharing import _call as calling
from evertoken.sharing._actions import Swap
from evertoken.sharing._codec import Read
from evertoken.sharing._record import Record
from evertoken.testing import canonical
from evertoken.testing._random import Random
from tests.kits import canary

__all__ = (
    "EVERY_FAULT",
    "POLICY",
    "Broken",
    "Search",
    "World",
    "act",
    "answer",
    "breadth_first",
    "calm",
    "first_world",
    "go",
    "name_of",
    "pause",
    "plain_records",
    "steps",
    "unblock",
    "wait",
    "walk",
)

LIFE = 8.0
POLICY = Policy(
    refresh_before=3,
    refresh_before_share=0.5,
    leeway=1,
    leeway_share=0.5,
    refresh_jitter_share=0,
    request_timeout=2,
    store_wait=1,
    retry_base=1,
    retry_cap=4,
    malformed_cap=4,
    locked_wait=6,
    locked_wait_cap=12,
    refused_wait=6,
    refused_wait_cap=12,
    doubted_refusal_wait=6,
    unclear_wait=6,
    unclear_wait_cap=12,
    rate_limited_wait=6,
    rate_limited_wait_cap=12,
    wait_spread=0,
    budget_burst=3,
    budget_interval=4,
    budget_interval_floor=2,
    rejection_interval=3,
    rejection_interval_cap=6,
)
EVERY_FAULT = (
    *("crash", "pause", "call", "locked", "500", "403", "lost"),
    *("reject", "failover", "wipe", "clock", "unblock"),
)
GRANT = canary.grant()


class Broken(AssertionError):
    """A law of the fleet is broken."""


class Value(bytes):
    """What stands in the store of this world: the id of the write, and the record beside it."""

    record: Record


def record_of(value: bytes | None) -> Record | None:
    """The record in a store of this world."""
    return value.record if isinstance(value, Value) else None


def _write(
    _grant: ClientCredentials, _key: str, record: Record, _beside: object, *, write: str, cipher: object
) -> Value:
    del cipher
    value = Value(write.encode())
    value.record = record
    return value


def _read(_grant: ClientCredentials, _key: str, value: bytes | None, _cipher: object) -> Read:
    return Read(record_of(value), {})


def _same_key(_grant: ClientCredentials) -> str:
    return "key"


@contextmanager
def plain_records() -> Generator[None]:
    """Within the block records are not sealed: each stands beside the id of its write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calling, "write_record", _write)
        patch.setattr(calling, "read_record", _read)
        patch.setattr(calling, "key_of", _same_key)
        yield


class Process(NamedTuple):
    """One process: its machine, what it remembers of the store, and how far its request is.

    ``acquired`` is when it took the lease, ``sent`` when its exchange began, and ``deadline`` when that ends. ``saver``
    saves an answer in the background. ``shunned`` are the headers that an API has rejected.
    """

    machine: TokenMachine
    memories: dict[str, calling.Memory]
    ask: Ask | None = None
    saver: Ask | None = None
    sent: float | None = None
    acquired: float = 0.0
    deadline: float = 0.0
    paused: bool = False
    shunned: tuple[str, ...] = ()


class World(NamedTuple):
    """All that there is.

    ``lost`` counts what may cost one more exchange each: leases, data, requests without a store. ``sends`` are the
    moments at which exchanges were charged, ``opened`` the highest number when an operator spoke last.
    """

    now: float
    value: bytes | None
    before: bytes | None
    skew: float
    processes: tuple[Process, ...]
    truth: tuple[tuple[str, float], ...]
    shut: float
    faults: int
    lost: int
    sends: tuple[float, ...]
    kinds: tuple[str, ...]
    nonces: int
    barred: tuple[int, ...]
    counted: tuple[str, ...] = ()
    opened: int = 0


def _machine() -> TokenMachine:
    return TokenMachine(GRANT, policy=POLICY, draw=lambda: 0.0, tiers=1)


def first_world(
    processes: int, faults: int, kinds: tuple[str, ...] = EVERY_FAULT, barred: tuple[int, ...] = ()
) -> World:
    """Processes without a token, an empty store, an endpoint that is well."""
    fleet = tuple(Process(_machine(), {}) for _ in range(processes))
    return World(0.0, None, None, 0.0, fleet, (), 0.0, faults, 0, (), kinds, 0, barred)


def _with(world: World, p: int, process: Process) -> World:
    return world._replace(processes=(*world.processes[:p], process, *world.processes[p + 1 :]))


def _twin(process: Process) -> Process:
    """A copy that may go another way than ``process``, so that the world it is from stays as it is."""
    memories = dict(process.memories)
    calls = []
    for call in (process.ask, process.saver):
        twin = None if call is None else copy.copy(call)
        if twin is not None:
            twin._memories = memories
        calls.append(twin)
    return process._replace(machine=process.machine.fork(), memories=memories, ask=calls[0], saver=calls[1])


# What may happen next
# ====================


def steps(world: World) -> Iterator[tuple[str, World]]:
    """Everything that may happen next, by a name, and the world after it."""
    quiet = True
    for p, process in enumerate(world.processes):
        if process.paused:
            yield f"{p} wakes", _with(world, p, process._replace(paused=False))
            continue
        if process.sent is not None:
            if world.now > process.sent:
                yield from _answers(world, p)
        elif _busy(world, process):
            quiet = False
            yield f"{p} {_doing(process)}", act(world, p)
        if process.saver is not None and _is_due(world, process.saver):
            quiet = False
            yield f"{p} saves", _save(world, p)
    if quiet:
        yield "tick", tick(world)
    if world.faults:
        yield from _faults(world)


def _busy(world: World, process: Process) -> bool:
    if process.ask is None:
        return isinstance(process.machine.poll(world.now), SendRequest)
    return _is_due(world, process.ask)


def _is_due(world: World, ask: Ask) -> bool:
    return not isinstance(ask.action, Sleep) or world.now >= ask.action.until


def _doing(process: Process) -> str:
    return "begins" if process.ask is None else type(process.ask.action).__name__.lower()


def act(world: World, p: int, fault: str | None = None) -> World:
    """Process ``p`` takes its next step; a call of the store may fail "before" it acts, or "after"."""
    process = _twin(world.processes[p])
    if process.ask is None:
        request = process.machine.start_request(world.now)
        sharing = Sharing(host=str(p), draw=lambda: 0.0)
        sharing._memories = process.memories
        ask = sharing.ask(world.now, request, nonce=f"{world.nonces:08}", unix_time=world.now)
        return _with(world._replace(nonces=world.nonces + 1), p, process._replace(ask=ask))
    world, process = _call(world, p, process, process.ask, fault)
    later = process.ask
    begins = later is not None and process.sent is None and isinstance(later.action, Send) and not later._lone
    if begins and later is not None and later._lease_end() < world.now + POLICY.request_timeout:
        raise Broken("an exchange is about to begin that may outlast its lease")
    return _told(world, p, process)


def _call(world: World, p: int, process: Process, ask: Ask, fault: str | None) -> tuple[World, Process]:
    now = world.now
    match ask.action:
        case Load():
            if fault:
                ask.store_failed(now, "away")
            else:
                ask.loaded(now, _found(world))
        case Swap() as swap:
            done = world.value == swap.expected
            if done and fault != "before":
                process = process._replace(acquired=now) if isinstance(swap, Acquire) else process
                _check_swap(world, process, swap)
                world = world._replace(value=swap.value, before=world.value)
            if fault:
                ask.store_failed(now, "away")
            else:
                ask.swapped(now, Swapped(done, _found(world)))
        case Sleep():
            ask.woken(now)
        case Send():
            _check_send(world, p, process, ask)
            lone = ask._lone
            moment = now if lone else process.acquired
            sends = (*[sent for sent in world.sends if sent > now - 12], moment)
            world = world._replace(sends=sends, lost=world.lost + lone)
            process = process._replace(sent=now, deadline=ask.action.request.deadline)
        case other:
            raise AssertionError(other)
    return world, process


def _found(world: World) -> Found:
    return Found(world.value, world.now + world.skew)


def _told(world: World, p: int, process: Process) -> World:
    """The machine is told at once when a request is over."""
    ask, machine = process.ask, process.machine
    if ask is None or process.sent is not None:
        return _with(world, p, process)
    request, now = ask._request, world.now
    match ask.action:
        case Answer(response, unsaved):
            machine.receive_response(now, request, response)
            saver = None
            if unsaved:
                ask.save(now)
                saver = ask if not isinstance(ask.action, Over) else None
            process = process._replace(ask=None, saver=saver)
        case Postpone(until, problem):
            machine.request_postponed(now, request, until, problem)
            process = process._replace(ask=None)
        case Fail():
            machine.send_failed(now, request, "reset")
            process = process._replace(ask=None)
        case _:
            pass
    world = _with(world, p, process)
    check(world)
    return world


def _save(world: World, p: int) -> World:
    process = _twin(world.processes[p])
    saver = process.saver
    assert saver is not None
    world, process = _call(world, p, process, saver, None)
    return _with(world, p, process._replace(saver=None) if isinstance(saver.action, Over) else process)


def _answers(world: World, p: int) -> Iterator[tuple[str, World]]:
    kind = "locked" if world.now < world.shut else "403" if p in world.barred else "ok"
    yield f"endpoint says {kind} to {p}", answer(world, p, kind)


def answer(world: World, p: int, kind: str) -> World:
    """The endpoint answers process ``p``."""
    process = _twin(world.processes[p])
    ask, now = process.ask, world.now
    assert ask is not None
    assert process.sent is not None
    match kind:
        case "ok":
            name = f"token#{len(world.truth) + 1}"
            world = world._replace(truth=(*world.truth, (name, process.sent + LIFE)))
            body = json.dumps({"access_token": name, "token_type": "bearer", "expires_in": LIFE}).encode()
            ask.answered(now, HttpResponse(200, (), body))
        case "locked":
            world = world._replace(shut=max(world.shut, now + POLICY.locked_wait))
            ask.answered(now, HttpResponse(400, (), b'{"error":"unauthorized_client"}'))
        case "500" | "403":
            if kind == "403" and world.sends:  # An exchange that was turned away is not charged.
                world = world._replace(sends=world.sends[:-1])
            ask.answered(now, HttpResponse(int(kind)))
        case _:
            ask.failed(now)
    return _told(world, p, process._replace(sent=None))


def tick(world: World) -> World:
    """A second passes. A lease that runs out by then counts as lost, and an exchange that lasts too long fails."""
    world = world._replace(now=world.now + 1)
    record = record_of(world.value)
    lease = None if record is None else record.lease
    if lease is not None and world.now + world.skew >= lease.until and lease.nonce not in world.counted:
        world = world._replace(lost=world.lost + 1, counted=(*world.counted[-3:], lease.nonce))
    for p, process in enumerate(world.processes):
        if process.sent is not None and not process.paused and world.now >= process.deadline:
            world = answer(world, p, "lost")
    check(world)
    return world


# Faults
# ======


def _faults(world: World) -> Iterator[tuple[str, World]]:
    """Everything that may go wrong now."""
    worse = world._replace(faults=world.faults - 1)
    for p, process in enumerate(world.processes):
        yield from _faults_of(worse, p, process)
    kinds, value = world.kinds, world.value
    if "failover" in kinds and value != world.before:
        yield "failover loses the last write", worse._replace(value=world.before, lost=world.lost + 1)
    if "wipe" in kinds and value is not None:
        yield "store wiped", worse._replace(value=None, before=None, lost=world.lost + 1)
    if "clock" in kinds and value is not None and world.skew == 0:
        yield "the store's clock is 2 s behind", worse._replace(skew=-2.0, lost=world.lost + 1)
    record = record_of(value)
    if "unblock" in kinds and record is not None and record.block is not None:
        after = _record.unblocked(record, world.now + world.skew)
        opened = _write(GRANT, "key", after, {}, write=f"operator {world.nonces}", cipher=None)
        worse = worse._replace(value=opened, before=value, shut=0.0, nonces=world.nonces + 1, opened=record.n)
        yield "operator unblocks", worse


def _faults_of(worse: World, p: int, process: Process) -> Iterator[tuple[str, World]]:
    now, kinds, ask = worse.now, worse.kinds, process.ask
    flying = process.sent is not None
    if "crash" in kinds and (ask is not None or process.machine.authorization(now)):
        machine = _machine()
        machine.send_failed(now, machine.start_request(now), "not yet up")
        yield f"{p} crashes", _with(worse._replace(lost=worse.lost + flying), p, Process(machine, {}))
    if "pause" in kinds and ask is not None and not process.paused:
        yield f"{p} is paused", _with(worse, p, process._replace(paused=True))
    calls = ask is not None and not flying and isinstance(ask.action, Load | Swap)
    if "call" in kinds and calls and not process.paused:
        yield f"{p}: {_doing(process)} fails before it acts", act(worse, p, "before")
        if isinstance(ask.action if ask else None, Swap):
            yield f"{p}: {_doing(process)} acts, its answer is lost", act(worse, p, "after")
    if flying and not process.paused:
        for kind in ("locked", "500", "403", "lost"):
            if kind in kinds:
                yield f"endpoint says {kind} to {p}", answer(worse, p, kind)
    header = process.machine.authorization(now)
    if "reject" in kinds and header is not None and ask is None:
        twin = _twin(process)
        twin.machine.token_rejected(now, header, Challenge.TOKEN)
        if twin.machine.authorization(now) is None:
            yield f"an API rejects the token of {p}", _with(worse, p, twin._replace(shunned=(*twin.shunned, header)))


# The laws
# ========


def check(world: World) -> None:
    """Hold every process to handing out no token that has expired, or that the API has rejected from it."""
    expiry = {f"Bearer {name}": end for name, end in world.truth}
    for p, process in enumerate(world.processes):
        header = process.machine.authorization(world.now)
        if header is not None and world.now >= expiry[header]:
            raise Broken(f"{p} hands out a token that expired {world.now - expiry[header]} s ago")
        if header is not None and header in process.shunned:
            raise Broken(f"{p} hands out a token that the API rejected")


def _check_send(world: World, p: int, process: Process, ask: Ask) -> None:
    now, lone = world.now, ask._lone
    flights = [(q, other) for q, other in enumerate(world.processes) if other.sent is not None and q != p]
    lost = world.lost + lone
    if len(flights) > lost:
        raise Broken(f"{len(flights) + 1} exchanges are under way, and {lost} leases were lost")
    sure = not set(world.kinds) & {"failover", "wipe", "clock"}
    asks = [other.ask for _, other in flights if other.ask is not None and not other.ask._lone]
    if sure and not lone and ask._lease_end() > now and any(other._lease_end() > now for other in asks):
        raise Broken("two exchanges are under way under leases that have not run out")
    sends = (*[sent for sent in world.sends if sent > now - 12], now if lone else process.acquired)
    for number, first in enumerate(sends):
        span = max(sends) - first
        if len(sends) - number > POLICY.budget_burst + span // POLICY.budget_interval + lost:
            raise Broken(f"{len(sends) - number} exchanges in {span} s are more than the budget of the fleet")


def _check_swap(world: World, process: Process, swap: Swap) -> None:
    """Hold what one swap makes of the record to the laws."""
    before, after = record_of(world.value), record_of(swap.value)
    if before is None or after is None:
        return
    if isinstance(swap, Acquire):
        _check_acquired(world, process, before)
    else:
        _check_token(world, before, after)
        _check_block(world, before, after)


def _check_acquired(world: World, process: Process, before: Record) -> None:
    now, t = world.now, world.now + world.skew
    if before.lease is not None and t < before.lease.until and not world.skew:
        raise Broken("a lease was taken that another process holds")
    if before.block is not None and t < before.block.ends and not world.skew:
        raise Broken("the lease was taken although the store shows a block that stands")
    request = None if process.ask is None else process.ask._request
    grant = before.grant
    # A record that is older than what the process remembers is not trusted.
    doubted = before.n < process.memories.get("key", calling.Memory()).n
    if grant is None or request is None or request.held is not None or world.skew or doubted:
        return
    # This is the earliest that the token may expire: a process that paused has sent its request later than it noted.
    expires = grant.asked - world.skew + LIFE
    if expires > now + 2 and digest(grant.granted.access_token) not in request.shunned:
        raise Broken("the lease was taken although the store holds a token that this process could use")


def _check_token(world: World, before: Record, after: Record) -> None:
    expiry = dict(world.truth)
    if before.grant is None or world.skew:
        return
    was = before.grant.granted.access_token
    if after.grant is None:
        if expiry[was] > world.now + 1:
            raise Broken("a live token was pushed out of the store")
    elif expiry[after.grant.granted.access_token] < expiry[was]:
        raise Broken("a late token has replaced a younger one")


def _check_block(world: World, before: Record, after: Record) -> None:
    sure = not set(world.kinds) & {"failover", "wipe", "clock"}
    if after.block is None or before.block is not None:
        return
    if after.block.n <= world.opened and sure:
        raise Broken("a late refusal has shut a door again that an operator had opened")
    if before.grant is not None and before.grant.n > after.block.n:
        raise Broken("a late refusal has shut a door although a later request was granted")


def calm(world: World, limit: float = 60.0) -> tuple[float, float]:
    """Go on without faults while everybody asks, each in turn.

    Returns the seconds until all have a token, and the most seconds in a row for which a process was without a token
    although the store held one that it could use.
    """
    fleet = tuple(process._replace(paused=False) for process in world.processes)
    world = world._replace(faults=0, processes=fleet)
    began, starved, worst = world.now, [0] * len(fleet), 0
    while world.now - began <= limit:
        check(world)
        if all(process.machine.authorization(world.now) for process in world.processes):
            break
        name, world = next(iter(steps(world)))
        if name == "tick":
            both = zip(world.processes, starved, strict=True)
            starved = [seconds + 1 if _is_starved(world, process) else 0 for process, seconds in both]
            worst = max(worst, *starved)
    return world.now - began, worst


def _is_starved(world: World, process: Process) -> bool:
    record = record_of(world.value)
    if record is None or record.grant is None or process.machine.authorization(world.now) is not None:
        return False
    name = record.grant.granted.access_token
    return dict(world.truth)[name] > world.now + 2 and f"Bearer {name}" not in process.shunned


# Alike
# =====


def name_of(world: World) -> tuple[object, ...]:
    """A name that two worlds share in which the same may happen, so that an explorer looks at one of them only."""
    return _Naming(world).name()


class _Naming:
    """Makes the name of a world, in which moments are relative and numbers of leases are ranked.

    A nonce goes by the process that has it, and a token by the life that is left of it.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.now = world.now
        self.expiry = dict(world.truth)
        self.numbers = _numbers(world)
        calls = [(p, n, call) for p, q in enumerate(world.processes) for n, call in enumerate((q.ask, q.saver))]
        self.nonces = {call._nonce: f"{p}{n}" for p, n, call in calls if call is not None}

    def name(self) -> tuple[object, ...]:
        world, now = self.world, self.now
        before = record_of(world.before) if world.faults else None
        sends = tuple(now - sent for sent in world.sends if sent > now - 12)
        shared = (self.of_record(record_of(world.value)), self.of_record(before))
        rest = (world.skew, self.rel(world.shut), world.faults, min(world.lost, 3), sends)
        return (tuple(self.of_process(process) for process in world.processes), shared, rest)

    def rel(self, moment: float) -> float:
        return max(-LIFE - 2, min(moment - self.now, 99.0))

    def of_token(self, name: str) -> float | None:
        return self.expiry[name] - self.now if name in self.expiry else None

    def of_process(self, process: Process) -> tuple[object, ...]:
        now, header = self.now, process.machine.authorization(self.now) or "Bearer "
        return (
            canonical(process.machine.state_value, now),
            self.of_memory(process.memories.get("key")),
            self.of_ask(process.ask),
            self.of_ask(process.saver),
            process.sent is not None and (now - process.sent, self.rel(process.acquired)),
            process.paused,
            self.of_token(header[7:]),
            tuple(self.of_token(name[7:]) for name in process.shunned if self.expiry[name[7:]] > now),
        )

    def of_memory(self, memory: calling.Memory | None) -> tuple[object, ...]:
        if memory is None:
            return ()
        record, rel = record_of(self.world.value), self.rel
        blocked = memory.blocked and (rel(memory.blocked[1]), rel(memory.blocked[2]))
        behind = record is not None and record.n < memory.n
        return (rel(memory.down_until), rel(memory.lone_at), blocked, rel(memory.retry_at), behind)

    def of_ask(self, ask: Ask | None) -> tuple[object, ...]:
        if ask is None:
            return ()
        action, outcome, rel, held = ask.action, ask._outcome, self.rel, ask._request.held
        return (
            ask._phase,
            rel(action.until) if isinstance(action, Sleep) else type(action).__name__,
            *(ask._lone, ask._saving, ask._asked_twice, ask._doubted, ask._downs, ask._tries, ask._untaken),
            type(ask._final).__name__,
            ask._sent is not None and rel(ask._sent),
            rel(ask._wait_end),
            self.of_token(outcome.access_token) if isinstance(outcome, Granted) else type(outcome).__name__,
            outcome.kind.value if isinstance(outcome, Blocked) else "",
            ask._lease is not None and (rel(ask._lease_end()), self.numbers[ask._lease.n]),
            ask._raw == self.world.value,
            self.of_record(ask._record),
            rel(ask._heard),
            ask._store_now - ask._heard,
            ask._request.shunned == (),
            held is not None and rel(held.fresh_until),
        )

    def of_record(self, record: Record | None) -> tuple[object, ...]:
        if record is None:
            return ()
        rel, numbers = self.rel, self.numbers
        account, grant, block, lease = record.account, record.grant, record.block, record.lease
        holder = "" if lease is None else self.nonces.get(lease.nonce.partition("-")[0], "gone")
        return (
            *(account.failures, account.malformed, account.times, account.vouched, account.budget.level),
            *(rel(account.retry_at - self.world.skew), rel(account.budget.refill_at), rel(record.written)),
            numbers[record.floor],
            grant and (self.of_token(grant.granted.access_token), rel(grant.asked), numbers[grant.n]),
            block and (rel(block.ends), numbers[block.n]),
            lease and (holder, rel(lease.until), numbers[lease.n]),
            tuple((bar.host, rel(bar.until), bar.times) for bar in record.bars),
        )


def _numbers(world: World) -> dict[int, int]:
    """The rank of each number of a lease among all that are known."""
    found = {0}
    records = [record_of(world.value), record_of(world.before)]
    for process in world.processes:
        for ask in (process.ask, process.saver):
            if ask is not None:
                records += [ask._record, ask._pending]
                found |= {ask._lease.n} if ask._lease is not None else set()
    for record in records:
        if record is not None:
            found |= {record.n, record.floor}
            found |= {part.n for part in (record.grant, record.block, record.lease) if part is not None}
    return {n: rank for rank, n in enumerate(sorted(found))}


class Search(NamedTuple):
    """What a search came to. ``law`` is the first that was broken, with the ``path`` to it.

    ``slowest`` and ``starved`` are the most seconds that :func:`calm` gave.
    """

    looked_at: int
    slowest: float
    starved: float
    law: str | None
    path: tuple[str, ...]


def breadth_first(first: World, most: int) -> Search:
    """Look at every world within reach, nearest first, up to ``most``, and at what follows each of them in calm."""
    nodes: list[tuple[World, int, str]] = [(first, -1, "")]
    known = {name_of(first)}
    slowest = starved = 0.0

    def path(position: int) -> tuple[str, ...]:
        labels = []
        while position > 0:
            _, parent, label = nodes[position]
            labels.append(f"{nodes[parent][0].now}: {label}")
            position = parent
        return tuple(reversed(labels))

    position = 0
    while position < len(nodes) < most:
        world = nodes[position][0]
        try:
            needed, waited = calm(world)
            slowest, starved = max(slowest, needed), max(starved, waited)
            for label, after in steps(world):
                name = name_of(after)
                if name not in known:
                    known.add(name)
                    nodes.append((after, position, label))
        except Broken as law:
            return Search(len(nodes), slowest, starved, str(law), path(position))
        position += 1
    return Search(len(nodes), slowest, starved, None, ())


def walk(first: World, random: Random, length: int) -> Search:
    """Go one way of ``length`` steps at random, with faults now and then, and look at what follows in calm."""
    world, path = first, list[str]()
    try:
        for _ in range(length):
            left = world.faults
            ways = list(steps(world._replace(faults=0)))
            if left and random.chance(0.15):
                worse = list(_faults(world))
                ways, left = (worse, left - 1) if worse else (ways, left)
            if not ways:
                break
            awake = [way for way in ways if not way[0].endswith("wakes")]
            label, after = random.pick(awake if awake and random.chance(0.8) else ways)  # So that pauses last.
            path.append(f"{world.now}: {label}")
            world = after._replace(faults=left)
        needed, waited = calm(world)
    except Broken as law:
        return Search(len(path), 0.0, 0.0, str(law), tuple(path))
    return Search(len(path), needed, waited, None, tuple(path))


# By hand
# =======


def wait(world: World, seconds: int) -> World:
    """Let so many seconds pass, in which nobody does anything."""
    for _ in range(seconds):
        world = tick(world)
    return world


def pause(world: World, p: int, *, paused: bool = True) -> World:
    """Pause process ``p``, or wake it."""
    return _with(world, p, world.processes[p]._replace(paused=paused))


def go(world: World, p: int, *kinds: type[object]) -> World:
    """Let process ``p`` go on, and time pass where it waits, until an action of one of ``kinds`` is to be done.

    Stops as well when its exchange is under way. With no kinds, goes on until its request is over.
    """
    for _ in range(100):
        process = world.processes[p]
        if process.sent is not None or (process.ask is not None and isinstance(process.ask.action, kinds)):
            return world
        if process.ask is None and not kinds and process.machine.authorization(world.now) is not None:
            return world
        world = act(world, p) if _busy(world, process) else tick(world)
        if world.processes[p].ask is None and not kinds:
            return world
    raise AssertionError(f"{p} does not get there")


def unblock(world: World) -> World:
    """The operator lifts the block that the store shows."""
    return next(after for name, after in _faults(world) if name == "operator unblocks")
