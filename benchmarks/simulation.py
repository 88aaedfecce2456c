"""How fast simulated time passes: a quiet year, hostile days, and the explorer. One core, no network, no sleeping.

    python benchmarks/simulation.py [--seeds N]

Run it on an otherwise idle machine; it prints the CPU time of one run of each. The quiet year is driven without the
world around it, as an embedder's own simulator would: 525,600 uses, one a minute, of one machine. The hostile month is
one client that makes a call every twenty seconds, with tokens as long-lived as Mangopay's, while requests and answers
are lost, doubled and late, the token endpoint fails, tokens are revoked and the API rejects good ones. The swarm draws
everything from its seeds; its runs are half recovery, in which little happens. Every law is checked after every step.

Each row ends with what one turn of a small loop cost just before and after it: machines differ by a factor, and a
shared one differs from itself within a minute.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import TypeVar

from evertoken import SendRequest, TokenMachine
from evertoken.testing import (
    ApiFault,
    AuthorizationServer,
    Calls,
    ClientPlan,
    Scenario,
    Script,
    ServerRequest,
    TokenFault,
    WorldFault,
    explore,
    simulate,
    swarm,
)

T = TypeVar("T")
DAY = 86_400.0
YEAR = 365 * 86_400
USES = 525_600


def quiet_year() -> int:
    """Use a token once a minute for a year, against the model of the server. Returns how many tokens that took."""
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


def hostile_month() -> Scenario:
    """One client and its server on bad terms for thirty days."""
    rates = ((WorldFault.LOST_BEFORE, 0.1), (WorldFault.LOST_AFTER, 0.1), (WorldFault.DUPLICATED, 0.1))
    return Scenario(
        seed=1,
        seconds=30 * DAY,
        clients=(ClientPlan(calls=Calls.STEADY, period=20.0),),
        lifetime=1_200,
        latency=(0.01, 4.0),
        rates=(*rates, (WorldFault.LATE, 0.1), (WorldFault.REVOKED, 0.2)),
        token_faults=(TokenFault.SERVER_ERROR, TokenFault.RATE_LIMITED),
        token_fault_rate=0.1,
        api_faults=(ApiFault.UNAUTHORIZED,),
        api_fault_rate=0.001,
    )


def timed(work: Callable[[], T]) -> tuple[float, str, T]:
    """Seconds of CPU time, the pace of the machine meanwhile, and what came of it."""
    gc.collect()
    before = turn()
    start = time.process_time()
    result = work()
    seconds = time.process_time() - start
    return seconds, f"(a turn: {before:.0f} and {turn():.0f} ns)", result


def turn() -> float:
    """Nanoseconds of CPU time for one turn of a loop that adds up numbers."""
    total, start = 0, time.process_time()
    for number in range(1_000_000):
        total += number
    return (time.process_time() - start) * 1_000


def main() -> None:
    """Run all of it and print."""
    parser = argparse.ArgumentParser(description="How fast simulated time passes.")
    parser.add_argument("--seeds", type=int, default=100, help="hostile days, each a seed of its own")
    parser.add_argument("--states", type=int, default=50_000, help="states for the explorer")
    arguments = parser.parse_args()
    gc.disable()

    seconds, pace, tokens = timed(quiet_year)
    print(
        f"quiet year      {USES:,} uses, {tokens:,} tokens:"
        f" {seconds:.2f} s, {YEAR / seconds:.1e} times real time {pace}"
    )

    seconds, pace, report = timed(lambda: simulate(hostile_month()))
    assert report.ok
    print(
        f"hostile month   {report.events:,} events, {report.token_requests:,} token requests: {seconds:.1f} s,"
        f" {report.seconds / seconds:.1e} times real time, {report.events / seconds:,.0f} events/s {pace}"
    )

    seconds, pace, found = timed(lambda: swarm(range(arguments.seeds)))
    print(
        f"hostile swarm   {found.runs} seeds, {found.seconds / 86_400:.0f} days, {len(found.failures)} failures:"
        f" {seconds:.1f} s, {found.seconds / seconds:.1e} times real time, {found.events / seconds:,.0f} events/s,"
        f" {found.runs / seconds:.1f} seeds/s {pace}"
    )

    seconds, pace, exploration = timed(lambda: explore(max_states=arguments.states))
    print(
        f"explorer        {exploration.states:,} states, {exploration.steps:,} steps, {len(exploration.violations)}"
        f" violations: {seconds:.1f} s, {exploration.states / seconds:,.0f} states/s {pace}"
    )


if __name__ == "__main__":
    main()
