"""What a tenant costs in memory: 10,000 clients with three scopes each in one process, by tracemalloc.

    python benchmarks/tenants.py [--clients N]

Each grant has its own source, machine and token. Printed is what one of them takes beside the two texts that hold its
token, when all have been made, when all have a token, and again after each of some lifetimes in which every token is
refreshed, and once as many clients have come and gone that asked for nothing. It must not grow. The time is made up.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import tracemalloc

from evertoken import ClientCredentials, HttpResponse, Policy, TokenRequest, mangopay
from evertoken_transports import Coordinator
from evertoken_transports.threads import TokenSource

SCOPES = ("payments", "reports", "webhooks")
LIFETIME = 1_200
ROUNDS = 3
GOAL = 4_096


class World:
    """A clock that is put forward by hand, and a token endpoint that gives a token to everybody."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.asked = 0

    def clock(self) -> float:
        """The time, in seconds."""
        return self.now

    def exchange(self, _: TokenRequest, /) -> HttpResponse:
        """Answer with another token each time."""
        self.asked += 1
        body = f'{{"access_token":"{self.asked:032x}","token_type":"bearer","expires_in":{LIFETIME}}}'
        return HttpResponse(200, (("Content-Type", "application/json"),), body.encode())


def grants(clients: int, name: str) -> list[ClientCredentials]:
    """One for each scope of each client, as different as those of tenants are."""
    endpoint = mangopay.sandbox("benchmark", "not-a-key").endpoint
    return [
        ClientCredentials(endpoint, f"{name}-{number}", f"not-a-key-{number:022}", scope=scope)
        for number in range(clients)
        for scope in SCOPES
    ]


def source_of(world: World, grant: ClientCredentials) -> TokenSource:
    """A source as a program makes it, but for the clock and the network."""
    Coordinator.shared(grant, Policy()).clock = world.clock
    return TokenSource(grant, exchange=world.exchange, background=False)


def traced() -> int:
    """Bytes that are in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def texts(source: TokenSource) -> int:
    """Bytes of the token itself: bare, and as the value of a header."""
    token = source.token()
    return sys.getsizeof(token.value) + sys.getsizeof(token.authorization)


def pass_by(world: World, clients: int) -> None:
    """Make sources for as many other clients, and never use them."""
    for grant in grants(clients, "passer-by"):
        source_of(world, grant)


def main() -> None:
    """Measure and print the table; end with 1 if a tenant costs more than it should, or ever more."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=10_000)
    clients: int = parser.parse_args().clients
    logging.getLogger("evertoken").setLevel(logging.ERROR)  # 10,000 grants are warned of, and here they are meant.
    world = World()
    source_of(world, grants(1, "first")[0]).authorization()  # What is made once in a process.
    tracemalloc.start()
    start = traced()
    everybody = grants(clients, "tenant")
    count = len(everybody)
    print(f"Python {sys.version.split()[0]}, {count:,} grants: bytes for each, beside the texts of its token")
    print(f"{'the grants alone, as their owner makes them':<58}{(traced() - start) / count:8,.0f}")
    sources = [source_of(world, grant) for grant in everybody]
    print(f"{'with a source and a machine each':<58}{(traced() - start) / count:8,.0f}")
    sizes: list[float] = []
    for number in range(ROUNDS):
        for source in sources:
            source.authorization()
        sizes.append((traced() - start) / count - texts(sources[0]))
        what = "with a token each" if not number else f"after {number} more lifetimes, each with a refresh"
        print(f"{what:<58}{sizes[-1]:8,.0f}  goal: at most {GOAL:,}")
        world.now += LIFETIME - 10
    pass_by(world, clients)
    sizes.append((traced() - start) / count - texts(sources[0]))
    print(f"{'after as many more that asked for nothing':<58}{sizes[-1]:8,.0f}")
    sources.clear()
    world.now += LIFETIME
    pass_by(world, clients)
    print(f"{'once all sources are gone, and all tokens have expired':<58}{(traced() - start) / count:8,.0f}")
    if max(sizes) > GOAL or sizes[-1] > sizes[0] * 1.05:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
