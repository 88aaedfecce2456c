"""A look that takes the token, or leaves all else to a request."""

from __future__ import annotations

from itertools import pairwise

import pytest

from evertoken import AccessToken, BlockKind, ClientCredentials, Granted, TokenEndpoint
from evertoken.sharing import Found, key_of
from evertoken.sharing._codec import write_record
from evertoken.sharing._glance import glance
from evertoken.sharing._record import Closed, Grant, blank
from tests.core.sharing.test_codec import Own
from tests.kits import canary
from tests.kits.driving import LIMITED, LOCKED, granted
from tests.kits.fleet import Fleet, Scrambled


def seen(fleet: Fleet, *, wall: float = 0.0, took: float = 0.0) -> AccessToken | Closed | None:
    """What a process sees that begins now; its wall clock is ahead by ``wall``."""
    grant, now = canary.grant(), fleet.now
    key = key_of(grant)
    found = fleet.stock.found(key)
    return glance(grant, fleet.policy, key, found, began=now - took, now=now, unix_time=now + wall, cipher=fleet.cipher)


@pytest.mark.parametrize("cipher", [None, Scrambled()], ids=["plain", "encrypted"])
def test_it_sees_the_token_for_as_long_as_a_request_would_be_answered_with_it(cipher: Scrambled | None) -> None:
    fleet = Fleet(cipher=cipher)
    assert seen(fleet) is None
    fleet.process().fetch(granted(0, 60))
    asked = len(fleet.sent)
    for moment, after in pairwise((0.0, 20.0, 56.0, 56.9, 57.0, 58.0)):
        token = seen(fleet)
        assert (token is not None) == (moment < 57.0)  # Five hundredths of a life are the leeway.
        if isinstance(token, AccessToken):
            outcome = fleet.process().fetch()
            assert isinstance(outcome, Granted)
            assert token.authorization == f"Bearer {outcome.access_token}"
        fleet.now += after - moment
    assert len(fleet.sent) == asked


def test_it_sees_a_block_that_nobody_waits_for_and_none_that_is_over_or_hides_a_token() -> None:
    fleet = Fleet()
    fleet.process().fetch(LOCKED)
    found = seen(fleet)
    assert isinstance(found, Closed)
    assert (found.kind, found.ends - fleet.stock.found("").now) == (BlockKind.LOCKED, 900)
    fleet.now += 900
    assert seen(fleet) is None
    fleet.process().fetch(granted(0, 1_200))
    fleet.edit(
        fleet.process(),
        fleet.process().sharing.block(fleet.now, canary.grant(), fleet.policy, BlockKind.LOCKED, nonce="1"),
    )
    assert isinstance(seen(fleet), AccessToken)
    limited = Fleet()
    limited.process().fetch(LIMITED)
    assert seen(limited) is None


def test_a_slow_look_makes_the_token_older() -> None:
    fleet = Fleet()
    fleet.process().fetch(granted(0, 60))
    fleet.now += 50
    assert seen(fleet, took=6.9) is not None
    assert seen(fleet, took=7.0) is None


def test_what_a_person_has_to_be_told_of_is_left_to_a_request() -> None:
    fleet = Fleet()
    fleet.process().fetch(granted(0, 1_200))
    assert seen(fleet, wall=59.0) is not None
    assert seen(fleet, wall=61.0) is None
    fleet.stock.ahead -= 5.0  # The store's clock has gone back: nobody knows how old the token is.
    assert seen(fleet) is None
    grant = canary.grant()
    forged = Found(b"{}", fleet.now)
    now = fleet.now
    assert glance(grant, fleet.policy, key_of(grant), forged, began=now, now=now, unix_time=now) is None


def test_where_nothing_is_shared_nothing_is_seen() -> None:
    fleet = Fleet()
    grant = ClientCredentials(TokenEndpoint("https://as.example/token", Own("a")), "shop")
    key, now = key_of(grant), fleet.now
    record = blank(fleet.policy)._replace(grant=Grant(Granted("token", 1_200), now, now, 1))
    found = Found(write_record(grant, key, record, {}, write="1", cipher=None), now)
    assert glance(grant, fleet.policy, key, found, began=now, now=now, unix_time=now) is None
