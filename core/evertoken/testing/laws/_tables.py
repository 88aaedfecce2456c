"""What each event makes of the token and of the request, as tables.

The machine does not run them: they are a second description, which tests walk cell by cell, and of which the diagram in
the README is made.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from evertoken._states import Freshness, RequestState

# What happens is one of these events. Most are inputs; FALL_DUE, EXPIRE, LOSE and WAIT_OVER are what time alone causes.


@enum.unique
class Event(enum.Enum):
    """The alphabet of the tables: each is an input with its meaning, or the passing of a deadline."""

    START = "start_request"
    GRANT = "granted"
    FAIL = "failed"
    MALFORMED = "malformed"
    REFUSE = "refused"
    UNCLEAR = "unclear"
    LOCK = "locked"
    RATE_LIMIT = "rate limited"
    ABANDON = "abandoned"
    LOSE = "deadline passed"
    WAIT_OVER = "wait over"
    REPORT = "endpoint_blocked"
    REJECT = "token_rejected"
    REPLACE = "replace_credentials"
    LIFT = "lift_block"
    FALL_DUE = "refresh_at passed"
    EXPIRE = "fresh_until passed"


_NONE, _VALID, _DUE, _EXPIRED = Freshness
_IDLE, _IN_FLIGHT, _BACKING_OFF, _BLOCKED = RequestState

FRESHNESS_TABLE: Mapping[Event, Mapping[Freshness, Freshness]] = MappingProxyType(
    {
        Event.GRANT: {_NONE: _VALID, _VALID: _VALID, _DUE: _VALID, _EXPIRED: _VALID},
        Event.FALL_DUE: {_VALID: _DUE},
        Event.EXPIRE: {_VALID: _EXPIRED, _DUE: _EXPIRED},
        Event.REJECT: {_VALID: _NONE, _DUE: _NONE},
    }
)
"""What each event makes of the token in hand. Pairs that are not listed change nothing."""

REQUEST_TABLE: Mapping[Event, Mapping[RequestState, RequestState]] = MappingProxyType(
    {
        Event.START: {_IDLE: _IN_FLIGHT},
        Event.GRANT: {_IN_FLIGHT: _IDLE},
        Event.FAIL: {_IN_FLIGHT: _BACKING_OFF},
        Event.MALFORMED: {_IN_FLIGHT: _BACKING_OFF},
        Event.REFUSE: {_IN_FLIGHT: _BLOCKED},
        Event.UNCLEAR: {_IN_FLIGHT: _BLOCKED},
        Event.LOCK: {_IN_FLIGHT: _BLOCKED},
        Event.RATE_LIMIT: {_IN_FLIGHT: _BLOCKED},
        Event.ABANDON: {_IN_FLIGHT: _IDLE},
        Event.LOSE: {_IN_FLIGHT: _BACKING_OFF},
        Event.WAIT_OVER: {_BACKING_OFF: _IDLE, _BLOCKED: _IDLE},
        Event.REPORT: {_IDLE: _BLOCKED, _BACKING_OFF: _BLOCKED, _BLOCKED: _BLOCKED},
        Event.REPLACE: {_BLOCKED: _IDLE},
        Event.LIFT: {_BLOCKED: _IDLE},
    }
)
"""What each event makes of the request. Pairs that are not listed change nothing.

REPLACE lifts refused and unclear blocks at most three times between grants, a lock once, and no other block."""

Joint = tuple[Freshness, RequestState]


def after(joint: Joint, event: Event) -> Joint | None:
    """Where ``event`` leads from a joint state; None where the grammar forbids it (a LocalProtocolError).

    The two tables are independent but for three rules that need both: a request starts only if the token is not VALID;
    an answer counts only for the attempt in flight; a rejection is believed only if another token can be had at once.
    """
    freshness, request = joint
    if event is Event.START and (freshness is _VALID or request is not _IDLE):
        return None
    if event is Event.GRANT and request is not _IN_FLIGHT:
        return joint
    if event is Event.REJECT and request not in (_IDLE, _IN_FLIGHT):
        return joint
    return (
        FRESHNESS_TABLE.get(event, {}).get(freshness, freshness),
        REQUEST_TABLE.get(event, {}).get(request, request),
    )
