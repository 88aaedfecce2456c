"""The rows of simulated time: the same columns as for real loops, in virtual seconds, and hours of use at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import product

import pytest

from tests.loops.columns import COLUMNS, FACES, Face, app_for, carry_out, needs_tls
from tests.loops.endpoint import TlsFiles
from tests.loops.simulated import UNIVERSES, Simulated

EVERYWHERE = pytest.mark.parametrize("universe", UNIVERSES)


def cells() -> Iterator[tuple[str, Face, str]]:
    for universe, face, column in product(UNIVERSES, FACES, COLUMNS):
        is_without_network = universe == "looptime" and (face == "httpx" or needs_tls(column))
        # In simloom, TLS begins with the connection, and httpx begins it afterwards.
        is_too_early = universe == "simloom" and face == "httpx" and needs_tls(column)
        if (face, column) != ("httpx", "warm") and not is_without_network and not is_too_early:
            yield universe, face, column


@pytest.mark.parametrize(("universe", "face", "column"), list(cells()))
def test_it_holds_in_simulated_time(universe: str, face: Face, column: str, tls: TlsFiles) -> None:
    inside = Simulated()
    kit = UNIVERSES[universe](inside, tls if needs_tls(column) else None)
    carry_out(column, app_for(column, kit, face, kit.place, inside))


@EVERYWHERE
def test_an_hour_of_use_is_a_token_request_for_each_token(universe: str) -> None:
    inside = Simulated(lifetime=600)
    kit = UNIVERSES[universe](inside)
    source = kit.source_of(kit.place.url.replace("localhost", "127.0.0.1"))

    async def an_hour() -> None:
        end = inside.clock() + 3_600
        while inside.clock() < end:
            header = await source.authorization()
            assert inside.model.is_valid(inside.clock(), header.removeprefix("Bearer "))
            await asyncio.sleep(10)

    kit.run(an_hour)
    assert len(inside.granted()) == 7
