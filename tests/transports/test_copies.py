"""Copies of what holds a token: there is one of each, so a copy is the thing itself, and nothing of it is pickled."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest

from evertoken import Challenge, LocalProtocolError
from evertoken_transports.asyncio import TokenSource as AsyncioSource
from evertoken_transports.httpx import BearerAuth
from evertoken_transports.httpx2 import BearerAuth as BearerAuth2
from evertoken_transports.threads import TokenSource
from evertoken_transports.trio import TokenSource as TrioSource
from tests.kits.worlds import World

MAKERS: dict[str, Callable[[World], Any]] = {
    "threads": lambda world: TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint),
    "asyncio": lambda world: AsyncioSource(world.grant, coordinator=world.coordinator),
    "trio": lambda world: TrioSource(world.grant, coordinator=world.coordinator),
    "httpx": lambda world: BearerAuth(world.grant, coordinator=world.coordinator),
    "httpx2": lambda world: BearerAuth2(world.grant, coordinator=world.coordinator),
    "coordinator": lambda world: world.coordinator,
}


@pytest.mark.parametrize("what", MAKERS)
def test_a_copy_is_the_thing_itself_and_a_pickle_is_refused_with_its_reason(what: str) -> None:
    thing = MAKERS[what](World())
    assert copy.copy(thing) is thing
    assert copy.deepcopy({"config": [thing]})["config"][0] is thing
    with pytest.raises(TypeError, match="cannot be pickled: the pickle would hold a secret or a token"):
        pickle.dumps(thing)


def test_a_copy_hands_out_no_dropped_token_and_ends_with_the_original() -> None:
    world = World()
    source = TokenSource(world.grant, coordinator=world.coordinator, exchange=world.endpoint, background=False)
    twin = copy.copy(source)
    header = twin.authorization()
    world.advance(100)
    source.token_rejected(header, Challenge.TOKEN)
    assert twin.authorization() != header
    source.close()
    with pytest.raises(LocalProtocolError, match="closed"):
        twin.authorization_nowait()


@pytest.mark.parametrize("kit", [(httpx, BearerAuth), (httpx2, BearerAuth2)], ids=["httpx", "httpx2"])
def test_what_holds_an_auth_object_can_be_copied(kit: tuple[Any, Any]) -> None:
    library, auth_class = kit
    world = World()
    auth = auth_class(world.grant, coordinator=world.coordinator)
    settings = {"auth": auth, "headers": library.Headers({"X": "y"})}
    assert copy.deepcopy(settings)["auth"] is auth
