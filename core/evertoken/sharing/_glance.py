"""The moments of a stored token on its reader's clock, and a look at a store that is enough where it has an answer."""

from __future__ import annotations

from evertoken import _schedule
from evertoken._grant import ClientCredentials
from evertoken._policy import Policy, whole_ticks
from evertoken._states import AccessToken
from evertoken.sharing import _record
from evertoken.sharing._codec import is_unshared, read_record
from evertoken.sharing._record import Closed, Record
from evertoken.sharing._store import Cipher, Found

_MOST_WALL = 60.0
"""Seconds by which wall clocks may make a token older. If they say more, one of them is wrong, and neither counts."""


def token_in(
    policy: Policy, record: Record, now: float, *, began: float, store_now: float, wall: float
) -> tuple[AccessToken | None, bool]:
    """The token in ``record`` if it can be dated, fresh or not; and whether the wall clocks are too far apart to count.

    The store's clock showed ``store_now`` somewhere between ``began`` and ``now``, which are on the reader's clock, and
    the wall clock of the reader shows ``wall`` more than that. The token is as old as the older of the two clocks says.
    """
    grant = record.grant
    if grant is None or grant.asked > store_now + _record.clock_doubt(policy):
        return None, False
    asked_at = min(now, began + (grant.asked - store_now))
    by_wall = grant.wall - wall
    is_apart = abs(asked_at - by_wall) > _MOST_WALL
    if 0.0 < asked_at - by_wall < _MOST_WALL:
        asked_at = by_wall
    started = whole_ticks(asked_at)
    return _schedule.make_token(policy, grant.granted, started=started, received=now, draw=0.0), is_apart


def glance(
    grant: ClientCredentials,
    policy: Policy,
    key: str,
    found: Found,
    *,
    began: float,
    now: float,
    unix_time: float,
    cipher: Cipher | None = None,
) -> AccessToken | Closed | None:
    """What was ``found``, if a process without a token needs no more: a fresh token, or a block for which nobody waits.

    None: make an ``Ask``, which also tells people what they have to know of the store. The call of the store ``began``
    on the clock that shows ``now``.
    """
    read = read_record(grant, key, found.value, cipher)
    if read.record is None or is_unshared(grant, cipher):
        return None
    record = _record.settled(policy, read.record, found.now)
    token, is_apart = token_in(policy, record, now, began=began, store_now=found.now, wall=unix_time - now)
    if is_apart:
        return None
    if token is not None and now < token.fresh_until:
        return token
    block = record.block
    stands = block is not None and block.look is None and block.kind.is_grave and found.now < block.ends
    return block if stands else None
