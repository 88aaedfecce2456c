"""Simulated networks have hosts, and those have names: plain http goes to the ones that a test names.

The loops that have a network begin with Python 3.12, and so does this file.
"""

from __future__ import annotations

import pytest

from evertoken import TokenUnavailable
from evertoken_transports.testing import allow_plain_http
from tests.loops.columns import app_for, carry_out
from tests.loops.simulated import UNIVERSES, Simulated

NAME = "api.simulated"
WITH_HOSTS = pytest.mark.parametrize("universe", [name for name in UNIVERSES if name != "looptime"])


@WITH_HOSTS
def test_plain_http_goes_to_a_simulated_host_that_a_test_names(universe: str) -> None:
    inside = Simulated()
    kit = UNIVERSES[universe](inside, host=NAME)
    with allow_plain_http(NAME):
        carry_out("expiry", app_for("expiry", kit, "httpx", kit.place, inside))


@WITH_HOSTS
def test_it_goes_there_no_more_once_the_block_has_ended(universe: str) -> None:
    inside = Simulated()
    kit = UNIVERSES[universe](inside, host=NAME)
    with allow_plain_http(NAME):
        source = kit.source_of(kit.place.url)
    with pytest.raises(TokenUnavailable, match=f"plain http to {NAME}:8080 is refused"):
        kit.run(lambda: source.authorization(1.0))
    assert inside.asked() == 0
