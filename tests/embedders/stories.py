"""What happens to an embedder: calls at certain moments, and what the token endpoint does meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import NamedTuple

from evertoken import Policy
from evertoken.testing import Overuse, Phase, Script, TokenBehaviour, TokenFault
from tests.kits.place import Place, opened

__all__ = ("HERDS", "REVOCATION", "STORIES", "Call", "Embedder", "Score", "Story", "told")

Call = Callable[[], object]
"""Makes one call of the API. Whatever it raises, that call is lost."""

Embedder = Callable[[Place], AbstractContextManager[Call]]


@dataclass(frozen=True)
class Story:
    """``calls`` calls of each of ``threads`` threads, ``every`` seconds one."""

    title: str
    script: Script
    calls: int
    every: float
    threads: int = 1
    policy: Policy = field(default_factory=Policy)
    revoked_before: tuple[int, ...] = ()
    """Before these calls, every token is revoked."""


class Score(NamedTuple):
    """What came of it."""

    requests: int
    """Token requests that reached the endpoint."""
    lost: int
    """Calls that raised."""

    def __str__(self) -> str:
        return f"{self.requests} / {self.lost}"


def _during(at: float, until: float, fault: TokenFault, lifetime: int) -> Script:
    return Script(lifetime=lifetime, phases=(Phase(at=at, until=until, token=TokenBehaviour(fault=fault)),))


FAIR = Story("fair weather", Script(lifetime=1_200), calls=20, every=10)
EXPIRY = Story("tokens of 60 s", Script(lifetime=60), calls=40, every=6)
OUTAGE = Story("outage of 12 s, live token", _during(40, 52, TokenFault.SERVER_ERROR, 60), calls=40, every=2)
REVOCATION = Story("two revocations", Script(lifetime=1_200), calls=25, every=10, revoked_before=(8, 18))
LOCK = Story(
    "lock of 8 s, live token",
    _during(40, 48, TokenFault.LOCKED, 60),
    calls=40,
    every=2,
    # Mangopay names no duration. Whoever knows it to be so short says so.
    policy=Policy(locked_wait=5, wait_spread=0),
)
STORIES = (FAIR, EXPIRY, OUTAGE, REVOCATION, LOCK)

# A second of real time before each answer, so that whoever asks at the same time is there before the first has got it.
_SLOW = Script(lifetime=1_200, token=TokenBehaviour(latency_after=1.0), rate_limits=())
HERD = Story("20 threads, 26 calls each in 25 minutes, tokens of 20", _SLOW, calls=26, every=60, threads=20)
REVOKED_HERD = replace(HERD, title="the same, and two revocations", revoked_before=(8, 15))
STRICT_HERD = replace(
    HERD,
    title="the same, and a lock for whoever asks more than 10 times a minute",
    script=replace(_SLOW, overuse=Overuse(requests=10, seconds=60, lock_seconds=900)),
)
HERDS = (HERD, REVOKED_HERD, STRICT_HERD)


@cache
def told(story: Story, embedder: Embedder) -> Score:
    """Tell ``story`` of ``embedder``, once."""
    with (
        opened(story.script, story.policy) as place,
        embedder(place) as call,
        ThreadPoolExecutor(story.threads) as pool,
    ):
        lost = 0
        for _ in _moments(story, place):
            lost += list(pool.map(_is_served, [call] * story.threads)).count(False)
        return Score(place.token_requests, lost)


def _moments(story: Story, place: Place) -> Generator[None]:
    for number in range(story.calls):
        if number in story.revoked_before:
            place.emulator.revoke_all()
        yield
        place.settle()
        place.clock.now += story.every


def _is_served(call: Call) -> bool:
    try:
        call()
    except Exception:  # noqa: BLE001 (each library has its own)
        return False
    return True
