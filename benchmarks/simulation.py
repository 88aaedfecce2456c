"""How fast simulated time passes: a quiet year, hostile days, and the explorer. One core, no network, no sleeping.

    python benchmarks/simulation.py [--seeds N]

Prints the wall time of one run of each; run it on an otherwise idle machine. The quiet year is driven without the
world around it, as an embedder's own simulator would: 525,600 uses, one a minute, of one machine.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from evertoken import Policy, SendRequest, TokenMachine
from evertoken.testing import (
    AuthorizationServer,
    ClientPlan,
    Scenario,
    Script,
    ServerRequest,
    explore,
    simulate,
    swarm,
)

T = TypeVar("T")
YEAR = 365 * 86_400
USES = 525_600


def quiet_year() -> int:
    """One use a minute for a year, against the model of the server; how many tokens that took."""
    server = AuthorizationServer("client", "key", script=Script(lifetime=3_600), keep_arrivals=8)
    machine = TokenMachine(server.grant("https://api.example"), draw=lambda: 0.5)
    for now in range(0, YEAR, YEAR // USES):
        quiet_until, header = machine.published
        if now < quiet_until:
            continue
        if isinstance(machine.poll(now), SendRequest):
            request = machine.start_request(now)
            answer = server.handle(
                now, ServerRequest(request.method, "/v2.01/oauth/token", request.headers, request.body)
            )
            assert answer.response is not None
            machine.receive_response(now, request, answer.response)
        header = machine.authorization(now)
        assert header is not None
    return len(server.tokens)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what came of it."""
    gc.collect()
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    """Run all of it and print."""
    parser = argparse.ArgumentParser(description="How fast simulated time passes.")
    parser.add_argument("--seeds", type=int, default=100, help="hostile days, each a seed of its own")
    parser.add_argument("--states", type=int, default=50_000, help="states for the explorer")
    arguments = parser.parse_args()
    gc.disable()

    seconds, tokens = timed(quiet_year)
    print(f"quiet year      {USES:,} uses, {tokens:,} tokens: {seconds:.2f} s, {YEAR / seconds:.1e} times real time")

    world = Scenario(seed=1, seconds=30 * 86_400.0, clients=(ClientPlan(policy=replace(Policy(), leeway=0.0)),))
    seconds, report = timed(lambda: simulate(world))
    print(f"quiet world     30 days of one client, all laws checked: {seconds:.2f} s ({report.events:,} events)")

    seconds, found = timed(lambda: swarm(range(arguments.seeds)))
    print(
        f"hostile swarm   {found.runs} seeds, {found.seconds / 86_400:.0f} days, {len(found.failures)} failures:"
        f" {seconds:.1f} s, {found.seconds / seconds:.1e} times real time, {found.events / seconds:,.0f} events/s,"
        f" {found.runs / seconds:.1f} seeds/s"
    )

    seconds, exploration = timed(lambda: explore(max_states=arguments.states))
    print(
        f"explorer        {exploration.states:,} states, {exploration.steps:,} steps, {len(exploration.violations)}"
        f" violations: {seconds:.1f} s, {exploration.states / seconds:,.0f} states/s"
    )


if __name__ == "__main__":
    main()
