"""A JSON object as a state again, or a ``Misfit`` that names the place where it is none.

Each value has the type and range that the machine relies on, and they fit each other. Whether they fit a policy is
another question: see ``_snapshot_caps``.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from evertoken._fields import Fields
from evertoken._judge import digest
from evertoken._problems import Problem, ProblemKind
from evertoken._records import (
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
)
from evertoken._states import State
from evertoken._wire import is_visible_ascii

__all__ = ("VERSION", "Kept", "Tuning", "read_kept")

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
