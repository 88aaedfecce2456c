"""A machine's state as JSON: to keep over a restart, to compare, to look at. Times are relative, so any clock will do.

    saved = machine.snapshot(now, secrets=True).to_json()
    ...
    machine = TokenMachine.restore(grant, Snapshot.from_json(saved), now, elapsed, draw=random.random)

What must survive a restart is above all the blocks, the back-off and the budget: a program
that a supervisor starts again and again would otherwise ask as often as it is started.

Moments are seconds from the moment of the snapshot, a whole number of ticks; those that are not finite are null.

**What it gives away.** With secrets, the token. Without, still: what the server said in errors, when it was asked, and
how long it keeps us away; digests (SHA-256) of the tokens in hand and rejected, which are too long to be guessed; a
digest of endpoint, client id and parameters, by which a client that is suspected can be recognised; and a proof of the
secret (``ClientCredentials.proof``), on which whoever reads the snapshot can try out guesses, at some 20 ms each. A
secret of a hundred random bits is safe from that; a word from a dictionary is not.

By these, a snapshot that was taken of another client is refused, and a secret that was replaced meanwhile counts as
replaced. A way of authentication that keeps its proof elsewhere (``ClientAuthentication`` of one's own) is not looked
into.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Never, TypeVar, cast

from evertoken import _schedule
from evertoken._answer import is_visible_ascii
from evertoken._grant import ClientCredentials
from evertoken._json import JsonObject, decode_object
from evertoken._policy import TICK, Policy, whole_ticks
from evertoken._problems import Problem, ProblemKind
from evertoken._scrub import plain
from evertoken._secrecy import Unpicklable
from evertoken._states import (
    LONG_AGO,
    MOST_DOUBLINGS,
    MOST_LIFTED,
    NEVER,
    AccessToken,
    Attempt,
    BackOff,
    Block,
    BlockKind,
    Budget,
    Credentials,
    Dropped,
    Rejections,
    State,
)
from evertoken._step import digest, settle

__all__ = ("Fields", "Misfit", "Snapshot", "capped", "read_snapshot", "take_snapshot")


@dataclass(frozen=True, slots=True, init=False)
class Snapshot(Unpicklable):
    """One state of one machine, independent of any clock. Immutable; compares and hashes by content.

    Made by :meth:`TokenMachine.snapshot` and :meth:`from_json` only. It shows nothing in its repr and refuses to be
    pickled; :meth:`to_json` is the one way to write it down.
    """

    _text: str = field(repr=False)
    has_secrets: bool
    """Whether it holds the token: then keep it like a password."""

    def __init__(self, *content: Never, **names: Never) -> None:
        del self, content, names  # Error trackers show the local variables of every frame.
        raise TypeError("a Snapshot is made by TokenMachine.snapshot or Snapshot.from_json")

    def to_json(self) -> str:
        """The snapshot as one line of JSON, with its version in it. Equal snapshots give equal text."""
        return self._text

    @classmethod
    def from_json(cls, text: str) -> Snapshot:
        """The snapshot that :meth:`to_json` wrote.

        Raises:
            ValueError: the text is no snapshot, or of a version that this release does not know. It names the place,
                and shows nothing of the content.
            TypeError: it is no text.
        """
        made = _parsed(text) if isinstance(text, str) else type(text)
        del text  # Error trackers show the local variables of every frame.
        if isinstance(made, type):
            raise TypeError(f"a snapshot is read from a str, not from {made.__name__}")
        if isinstance(made, str):
            raise ValueError(f"this is no snapshot that can be restored: {made}")
        return made


def take_snapshot(grant: ClientCredentials, policy: Policy, state: State, *, secrets: bool) -> Snapshot:
    """``state``, which is settled. Without ``secrets``, without the token."""
    content: JsonObject = {
        "version": VERSION,
        "client": client_of(grant),
        "proof": grant.proof(),
        **written(policy, state, secrets=secrets),
    }
    return _sealed(content, has_secrets=secrets and state.token is not None)


def read_snapshot(
    grant: ClientCredentials, policy: Policy, snapshot: Snapshot, now: float, elapsed: float
) -> tuple[State, bool]:
    """The state at ``now``, ``elapsed`` seconds after the snapshot; and whether its secret is that of ``grant``.

    Raises:
        ValueError: it was taken of another client.
    """
    kept = _kept_of(grant, snapshot, now, elapsed)
    if kept is None:
        raise ValueError("the snapshot was taken of another client, endpoint, scope, audience or parameters")
    # From long ago, since caps and edits may have moved a deadline behind the moment of the snapshot.
    state = settle(policy, capped(policy, kept).at(LONG_AGO), now)
    return state, kept.proof == grant.proof()


def client_of(grant: ClientCredentials) -> str:
    """A name for everything of ``grant`` but its proof."""
    text = "\0".join(("evertoken snapshot", grant.endpoint.url, grant.client_id, repr(grant.form())))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _kept_of(grant: ClientCredentials, snapshot: Snapshot, now: float, elapsed: float) -> Kept | None:
    """What ``snapshot`` holds, on a clock that shows ``now``; None if it is another client's."""
    kept = _read(decode_object(snapshot.to_json()), now, elapsed)
    return kept if kept.client == client_of(grant) else None


def _parsed(text: str) -> Snapshot | str:
    """The snapshot in ``text``, or why there is none."""
    content = decode_object(text) if text.strip() else "empty"
    if isinstance(content, str):
        return f"it is {content}"
    try:
        kept = _read(content, 0.0, 0.0)
    except Misfit as place:
        if str(place) == "version":
            return f"it is of another version than {VERSION}"
        return f"it is not as this release writes it, at {place}"
    return _sealed(content, has_secrets=kept.has_secrets)


def _read(content: object, now: float, elapsed: float) -> Kept:
    return Fields(content, now - whole_ticks(elapsed)).made(read_kept)


def _sealed(content: JsonObject, *, has_secrets: bool) -> Snapshot:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    made = object.__new__(Snapshot)
    object.__setattr__(made, "_text", text)
    object.__setattr__(made, "has_secrets", has_secrets)
    return made


# Writing
# =======

# A state as a JSON object: moments relative to one of them, texts fit to be shown, and all that reading needs.
#
# What is written here is read below, and is written so that it always can be.


def written(policy: Policy, state: State, *, secrets: bool) -> JsonObject:
    """``state``; without ``secrets``, without the token's value."""

    def moment(at: float) -> object:
        return None if math.isinf(at) else float(at - state.now)

    backoff, rejections, credentials = state.backoff, state.rejections, state.credentials
    return {
        "token": None if state.token is None else _written_token(state.token, moment, secrets=secrets),
        "attempt": _written_attempt(state.attempt, moment),
        "lost": _written_attempt(state.lost, moment),
        "next_id": state.next_id,
        "backoff": {
            **backoff._asdict(),
            "retry_at": moment(backoff.retry_at),
            "found": moment(backoff.found),
        },
        "blocks": [_written_block(block, moment) for block in state.blocks],
        "budget": _written_budget(policy, state.budget, moment),
        "rejections": {
            **rejections._asdict(),
            "allowed_at": moment(rejections.allowed_at),
            "forgive_at": moment(rejections.forgive_at),
            "dropped": [
                {"digest": name, "shunned_until": moment(shunned_until), "forget_at": moment(forget_at)}
                for name, shunned_until, forget_at in rejections.dropped
            ],
        },
        "credentials": credentials._asdict(),
        "granted_at": moment(state.granted_at),
        "problem": _written_problem(state.problem),
    }


_Moment = Callable[[float], object]


def _written_token(token: AccessToken, moment: _Moment, *, secrets: bool) -> JsonObject:
    named: JsonObject = {"value": token.value} if secrets else {}
    return named | {
        "digest": digest(token.value),
        "started": moment(token.started),
        "refresh_at": moment(token.refresh_at),
        "fresh_until": moment(token.fresh_until),
        "expires_at": moment(token.expires_at),
        "scope": _shown(token.scope),
    }


def _written_attempt(attempt: Attempt | None, moment: _Moment) -> JsonObject | None:
    if attempt is None:
        return None
    return {
        **attempt._asdict(),
        "started": moment(attempt.started),
        "deadline": moment(attempt.deadline),
        "draw": float(attempt.draw),  # Equal states give equal text, so a whole number is written like any other.
    }


def _written_budget(policy: Policy, budget: Budget, moment: _Moment) -> JsonObject:
    """The bucket, and the tunables that its interval was made by: it means nothing under others."""
    return {
        **budget._asdict(),
        "refill_at": moment(budget.refill_at),
        "budget_interval": float(policy.budget_interval),
        "budget_interval_floor": float(policy.budget_interval_floor),
    }


def _written_block(block: Block, moment: _Moment) -> JsonObject:
    return {
        "kind": block.kind.value,
        "until": moment(block.until),
        "found": moment(block.found),
        "times": block.times,
        "problem": _written_problem(block.problem),
    }


def _written_problem(problem: Problem | None) -> JsonObject | None:
    if problem is None:
        return None
    return {
        "kind": problem.kind.value,
        "summary": plain(problem.summary),
        "advice": plain(problem.advice),
        "status": problem.status,
        "error": _shown(problem.error),
        "detail": _shown(problem.detail),
    }


def _shown(text: str | None) -> str | None:
    return None if text is None else plain(text)


# Reading
# =======

# A JSON object as a state again, or a ``Misfit`` that names the place where it is none.
#
# Each value has the type and range that the machine relies on, and they fit each other. Whether they fit a policy is
# another question: see below.

VERSION = 3

_DURATION = 2.0**40
"""Seconds: no duration that can be written is as long."""


class Tuning(NamedTuple):
    """The tunables that made the budget's interval, by their names in ``Policy``."""

    budget_interval: float
    budget_interval_floor: float


class Kept(NamedTuple):
    """What a snapshot holds: a state at the moment at which it was taken, and of whom and under what it was taken."""

    client: str
    proof: str
    state: State
    tuning: Tuning
    has_secrets: bool


def read_kept(document: Fields) -> Kept:
    """All of a snapshot. Raises Misfit."""
    document.read("version", lambda value: type(value) is int and value == VERSION)  # True and 1.0 are equal to 1.
    budget, tuning = document.part("budget", _read_budget)
    state = State(
        now=document.origin,
        token=document.optional("token", _read_token),
        attempt=document.optional("attempt", _read_attempt),
        lost=document.optional("lost", _read_attempt),
        next_id=document.count("next_id", least=1),
        backoff=document.part("backoff", _read_backoff),
        blocks=_read_blocks(document),
        budget=budget,
        rejections=document.part("rejections", _read_rejections),
        credentials=document.part("credentials", _read_credentials),
        granted_at=document.moment("granted_at", LONG_AGO),
        problem=document.optional("problem", _read_problem),
    )
    _check_attempts(document, state)
    return Kept(document.digest("client", 32), document.digest("proof", 32), state, tuning, state.token is not None)


def _check_attempts(document: Fields, state: State) -> None:
    """An answer is told by the id of its attempt, so each has one of its own; credentials come one after another."""
    attempts = [attempt for attempt in (state.attempt, state.lost) if attempt is not None]
    document.require("next_id", all(attempt.id < state.next_id for attempt in attempts))
    document.require("lost", len({attempt.id for attempt in attempts}) == len(attempts))
    document.require("credentials", all(attempt.generation <= state.credentials.generation for attempt in attempts))


def _read_token(fields: Fields) -> AccessToken | None:
    """The token; None if the snapshot was taken without secrets, and so without its value."""
    started, refresh_at = fields.time("started"), fields.time("refresh_at")
    fresh_until, expires_at = fields.time("fresh_until"), fields.time("expires_at")
    fields.require("refresh_at", started <= refresh_at <= fresh_until)
    fields.require("expires_at", fresh_until <= expires_at)
    scope, name = fields.text_or_none("scope"), fields.digest("digest", 64)
    if not fields.has("value"):
        return None
    value = cast("str", fields.read("value", lambda value: isinstance(value, str) and is_visible_ascii(value)))
    fields.require("digest", name == digest(value))
    return AccessToken(value, f"Bearer {value}", started, refresh_at, fresh_until, expires_at, scope)


def _read_attempt(fields: Fields) -> Attempt:
    attempt = Attempt(
        id=fields.count("id", least=1),
        started=fields.time("started"),
        deadline=fields.time("deadline"),
        draw=fields.number("draw", 1),
        generation=fields.count("generation"),
    )
    fields.require("deadline", attempt.started <= attempt.deadline)
    return attempt


def _read_backoff(fields: Fields) -> BackOff:
    failures, malformed, repeats = (fields.count(name, most=MOST_DOUBLINGS) for name in BackOff._fields[:3])
    retry_at, found = fields.moment("retry_at", LONG_AGO), fields.moment("found", LONG_AGO)
    return BackOff(failures, malformed, repeats, retry_at, found)


def _read_blocks(document: Fields) -> tuple[Block, ...]:
    """Each kind once, in the order of the kinds."""
    blocks = document.several("blocks", _read_block)
    kinds = [block.kind for block in blocks]
    document.require("blocks", kinds == [kind for kind in BlockKind if kind in kinds])
    return blocks


def _read_block(fields: Fields) -> Block:
    return Block(
        kind=fields.one_of("kind", BlockKind),
        until=fields.time("until"),
        found=fields.time("found"),
        times=fields.count("times", most=MOST_DOUBLINGS),
        problem=fields.part("problem", _read_problem),
    )


def _read_budget(fields: Fields) -> tuple[Budget, Tuning]:
    level, refill_at = fields.count("level"), fields.moment("refill_at", NEVER)
    tuning = Tuning(*(fields.number(name, _DURATION) for name in Tuning._fields))
    return Budget(level, refill_at, fields.number("interval", _DURATION)), tuning


def _read_rejections(fields: Fields) -> Rejections:
    return Rejections(
        believed=fields.count("believed", most=MOST_DOUBLINGS),
        allowed_at=fields.moment("allowed_at", LONG_AGO),
        forgive_at=fields.moment("forgive_at", LONG_AGO),
        worked=fields.flag("worked"),
        dropped=fields.several("dropped", _read_dropped),
    )


def _read_dropped(fields: Fields) -> Dropped:
    return Dropped(fields.digest("digest", 64), fields.time("shunned_until"), fields.time("forget_at"))


def _read_credentials(fields: Fields) -> Credentials:
    return Credentials(
        generation=fields.count("generation"),
        proven=fields.flag("proven"),
        lock_lifted=fields.flag("lock_lifted"),
        refusals_lifted=fields.count("refusals_lifted", most=MOST_LIFTED),
    )


def _read_problem(fields: Fields) -> Problem:
    return Problem(
        kind=fields.one_of("kind", ProblemKind),
        summary=fields.text("summary"),
        advice=fields.text("advice"),
        status=fields.count_or_none("status"),
        error=fields.text_or_none("error"),
        detail=fields.text_or_none("detail"),
    )


# Under another policy
# ====================

# What a policy lets a kept state say: no wait is longer than it could have made it.
#
# A snapshot may have been taken under another policy, or by another hand. All is measured from the moment at which it
# was taken, not from the one at which it is restored: a program that is started again and again from one snapshot would
# otherwise push its waits ahead of itself for ever. A state that was made under this very policy is left as it is, to
# the last bit.


def capped(policy: Policy, kept: Kept) -> State:
    """The state that was kept, at the moment at which it was taken, as ``policy`` allows it to be."""
    state, backoff = kept.state, kept.state.backoff
    taken = state.now
    retry_at = min(backoff.retry_at, taken + _schedule.longest_back_off(policy))
    return state._replace(
        token=None if state.token is None else _capped_token(policy, state.token, taken),
        attempt=None if state.attempt is None else _capped_attempt(policy, state.attempt, taken),
        lost=None if state.lost is None else _capped_attempt(policy, state.lost, taken),
        backoff=backoff._replace(retry_at=retry_at, found=min(backoff.found, taken)),
        blocks=tuple(_capped_block(policy, block, taken) for block in state.blocks),
        budget=_fitted(policy, kept.tuning, state.budget, taken),
        rejections=_capped_rejections(policy, state.rejections, taken),
        granted_at=min(state.granted_at, taken),
    )


def _capped_token(policy: Policy, token: AccessToken, taken: float) -> AccessToken:
    started = min(token.started, taken)
    expires_at = min(token.expires_at, started + whole_ticks(policy.max_lifetime))
    fresh_until = min(token.fresh_until, expires_at)
    refresh_at = min(token.refresh_at, fresh_until)
    return AccessToken(token.value, token.authorization, started, refresh_at, fresh_until, expires_at, token.scope)


def _capped_attempt(policy: Policy, attempt: Attempt, taken: float) -> Attempt:
    started = min(attempt.started, taken)
    seconds = whole_ticks(policy.request_timeout)
    return attempt._replace(started=started, deadline=min(attempt.deadline, started + seconds))


def _capped_block(policy: Policy, block: Block, taken: float) -> Block:
    until = min(block.until, taken + _schedule.longest_wait(policy, block.kind))
    return block._replace(until=until, found=min(block.found, taken + TICK))


def _fitted(policy: Policy, tuning: Tuning, budget: Budget, taken: float) -> Budget:
    """The bucket of one policy as another's.

    Its interval was made for tokens whose lifetime is not known any more. Under the tunables that made it, it is right.
    Under others it is the longest, as at the start of a machine: too long a one costs a wait until the next grant, too
    short a one overuses the endpoint for as long as no grant comes. The next refill is only ever moved closer, so that
    restoring again and again neither gains a request nor loses one.
    """
    longest, floor = whole_ticks(policy.budget_interval), whole_ticks(policy.budget_interval_floor)
    is_ours = tuning == (policy.budget_interval, policy.budget_interval_floor)
    interval = min(longest, max(floor, budget.interval)) if is_ours else longest
    if budget.level >= policy.budget_burst:
        return Budget(policy.budget_burst, NEVER, interval)
    return Budget(budget.level, min(budget.refill_at, taken + interval), interval)


def _capped_rejections(policy: Policy, rejections: Rejections, taken: float) -> Rejections:
    allowed_at = min(rejections.allowed_at, taken + _schedule.rejection_pause(policy, MOST_DOUBLINGS))
    dropped = tuple(_capped_dropped(policy, entry, taken) for entry in rejections.dropped)
    forgive_at = min(rejections.forgive_at, taken + _schedule.forgiving_pause(policy))
    return rejections._replace(allowed_at=allowed_at, forgive_at=forgive_at, dropped=dropped)


def _capped_dropped(policy: Policy, entry: Dropped, taken: float) -> Dropped:
    pause, life = whole_ticks(policy.rejection_interval), whole_ticks(policy.max_lifetime)
    shunned_until = min(entry.shunned_until, taken + pause)
    return Dropped(entry.digest, shunned_until, min(entry.forget_at, taken + max(pause, life)))


# A document whose parts are checked
# ==================================

# Checked reading of a JSON document that this library wrote: types, ranges and moments, with the place of a fault.
#
# A file is no more trusted than a network: it may be cut, edited, or of another release. Whatever is read has the type
# and the range that the machine relies on, or is refused by the name of the place at which it has not. What has a name
# that nobody asks for is refused too: a text that is said to hold no secret must not carry one along unseen.

_FARTHEST = 2.0**41
"""Seconds: twice as far as any moment is from the origin of its clock."""
_MOST = 2**63
_E = TypeVar("_E", bound=enum.Enum)
_T = TypeVar("_T")


class Misfit(ValueError):
    """Something is missing or does not fit; the text is the place."""


class Fields:
    """One object of a document whose times are relative to ``origin``."""

    def __init__(self, content: object, origin: float, place: str = "") -> None:
        if not isinstance(content, dict):
            raise Misfit(place)
        self._content = cast("JsonObject", content)
        self.origin = origin
        self._place = place
        self._known: set[str] = set()

    def made(self, make: Callable[[Fields], _T]) -> _T:
        """What ``make`` makes of this object, which holds nothing else."""
        thing = make(self)
        if self._content.keys() - self._known:
            raise Misfit(f"{self._place or 'the top'}, which holds something unknown")
        return thing

    def has(self, name: str) -> bool:
        """Whether there is something of this name, which need not be there."""
        self._known.add(name)
        return name in self._content

    def require(self, name: str, fits: bool) -> None:  # noqa: FBT001 - like assert
        """Refuse the value of ``name`` unless it ``fits`` the others."""
        if not fits:
            raise Misfit(self._at(name))

    def read(self, name: str, fits: Callable[[object], bool]) -> object:
        """The value of ``name``, which must be there and fit."""
        self.require(name, self.has(name) and fits(self._content[name]))
        return self._content[name]

    def moment(self, name: str, nothing: float) -> float:
        """A point in time, on the grid; ``nothing`` if it is null."""
        value = self.read(name, _is_distance)
        return nothing if value is None else self.origin + whole_ticks(cast("float", value))

    def time(self, name: str) -> float:
        """A point in time that cannot be null."""
        self.read(name, lambda value: value is not None)
        return self.moment(name, math.inf)

    def count(self, name: str, *, least: int = 0, most: int = _MOST) -> int:
        """A whole number."""
        return cast("int", self.read(name, lambda value: type(value) is int and least <= value <= most))

    def count_or_none(self, name: str) -> int | None:
        """A whole number, or null."""
        return None if self.read(name, lambda _: True) is None else self.count(name)

    def number(self, name: str, below: float) -> float:
        """A number from 0 that is smaller than ``below``."""
        value = self.read(name, lambda value: type(value) in (int, float) and 0 <= cast("float", value) < below)
        return float(cast("float", value))

    def one_of(self, name: str, kinds: type[_E]) -> _E:
        """The member of an enum that has this value."""
        value = self.text(name)
        self.read(name, lambda value: any(kind.value == value for kind in kinds))
        return kinds(value)

    def flag(self, name: str) -> bool:
        """True or false."""
        return cast("bool", self.read(name, lambda value: isinstance(value, bool)))

    def text(self, name: str) -> str:
        """A text, made fit to be shown."""
        return plain(cast("str", self.read(name, lambda value: isinstance(value, str))))

    def text_or_none(self, name: str) -> str | None:
        """A text, or null."""
        return None if self.read(name, lambda _: True) is None else self.text(name)

    def digest(self, name: str, length: int) -> str:
        """A number in ``length`` hexadecimal digits."""
        return cast("str", self.read(name, lambda value: isinstance(value, str) and _is_hex(value, length)))

    def part(self, name: str, make: Callable[[Fields], _T]) -> _T:
        """What ``make`` makes of an object within this one."""
        value = self.read(name, lambda value: isinstance(value, dict))
        return Fields(value, self.origin, self._at(name)).made(make)

    def optional(self, name: str, make: Callable[[Fields], _T]) -> _T | None:
        """What ``make`` makes of an object within this one, or None for null."""
        return None if self.read(name, lambda _: True) is None else self.part(name, make)

    def several(self, name: str, make: Callable[[Fields], _T]) -> tuple[_T, ...]:
        """What ``make`` makes of each object in a list."""
        values = cast("list[object]", self.read(name, lambda value: isinstance(value, list)))
        return tuple(Fields(value, self.origin, self._at(name)).made(make) for value in values)

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name


def _is_distance(value: object) -> bool:
    """Null, or seconds."""
    return value is None or (type(value) in (int, float) and -_FARTHEST <= cast("float", value) <= _FARTHEST)


def _is_hex(value: str, length: int) -> bool:
    return len(value) == length and set(value) <= set("0123456789abcdef")
