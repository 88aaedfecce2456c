"""A deterministic simulator of one's own with token machines in it: own clock, own heap, own network, own truth.

    python examples/own_simulator.py [seed]

Two shops take payments for half an hour. Their token requests get lost, come twice, come late and are refused, and now
and then a shop's process ends and another goes on from its snapshot. After every event the simulator checks what only
it knows (no payment carries an expired token), the laws of the machine in this state and one step ahead through all
that could happen next, and, in a fork, that a token would come if everything went well from here.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import random
import sys
from collections.abc import Callable

from evertoken import HttpResponse, Policy, SendRequest, Snapshot, TokenMachine, TokenRequest, Wait, mangopay
from evertoken.testing import broken_by, broken_in, canonical, enabled_inputs, liveness_bound
from evertoken.testing.functional import settle, step

SECONDS = 1_800
GRANT = mangopay.sandbox(client_id="shop", api_key="made-up")
POLICY = Policy(retry_base=2, retry_cap=16, locked_wait=60, locked_wait_cap=240, refresh_jitter_share=0)


def granted(token: str, lifetime: int) -> HttpResponse:
    """The answer that issues ``token``."""
    body = {"access_token": token, "token_type": "bearer", "expires_in": lifetime}
    return HttpResponse(200, [("Content-Type", "application/json")], json.dumps(body).encode())


class Shop:
    """One process with its machine, up or down."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self.machine = TokenMachine(GRANT, policy=POLICY, draw=draw)
        self.up = True
        self.paid = self.turned_away = 0


class Simulator:
    """The world: everything that happens is an event on one heap, in the order of time and then of arrival."""

    lifetime = 60

    def __init__(self, seed: int, shops: int = 2) -> None:
        self.random = random.Random(seed)
        self.now = 0  # Whole seconds: machines take any int or float, and integers do not drift.
        self.shops = [Shop(self.random.random) for _ in range(shops)]
        self.expiry: dict[str, int] = {}  # The truth about every token, by the header that carries it.
        self.seq = self.requests = self.restarts = 0
        self.heap: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []
        self.seen: set[tuple[object, ...]] = set()
        self.history = hashlib.sha256()

    def later(self, seconds: int, action: Callable[..., None], *arguments: object) -> None:
        """Let something happen in so many seconds."""
        self.seq += 1
        heapq.heappush(self.heap, (self.now + seconds, self.seq, action, arguments))

    def run(self) -> None:
        """All of it, event by event."""
        for shop in self.shops:
            self.later(self.random.randint(0, 5), self.pay, shop)
            self.later(self.random.randint(200, 900), self.crash, shop)
        while self.heap[0][0] < SECONDS:
            self.now, _, action, arguments = heapq.heappop(self.heap)
            action(*arguments)
            for shop in self.shops:
                self.check(shop)

    # What happens
    # ------------

    def pay(self, shop: Shop) -> None:
        """A customer pays if there is a token, and sends for one if one is wanted."""
        self.later(self.random.randint(1, 10), self.pay, shop)
        header = shop.machine.authorization(self.now) if shop.up else None
        if header is None:
            shop.turned_away += 1
        else:
            assert self.now < self.expiry[header], "a payment carries an expired token"
            shop.paid += 1
        if shop.up and isinstance(shop.machine.poll(self.now), SendRequest):
            self.send(shop, shop.machine.start_request(self.now))

    def send(self, shop: Shop, request: TokenRequest) -> None:
        """The network. Where neither answer nor failure comes back, the machine itself finds the attempt lost."""
        self.requests += 1
        for _ in range(self.random.choice([0, 1, 1, 1, 1, 1, 1, 1, 2])):  # Lost on the way there, or doubled.
            response = self.answer()
            way = self.random.choice([0, 0, 0, 1, 2, 30])
            fate = self.random.choice([self.arrive, self.arrive, self.arrive, self.fail])
            self.later(way, fate, shop, request, response)

    def answer(self) -> HttpResponse:
        """The token endpoint: a token, an error, or a lock."""
        trouble = self.random.random()
        if trouble < 0.15:
            return HttpResponse(503, [("Retry-After", "3")])
        if trouble < 0.17:
            return HttpResponse(400, [], b'{"error": "unauthorized_client"}')
        token = f"token-{len(self.expiry) + 1}"
        self.expiry[f"Bearer {token}"] = self.now + self.lifetime
        return granted(token, 60)

    def arrive(self, shop: Shop, request: TokenRequest, response: HttpResponse) -> None:
        """An answer comes, if there is still somebody; the machine knows by the request what it is worth."""
        if shop.up:
            shop.machine.receive_response(self.now, request, response)

    def fail(self, shop: Shop, request: TokenRequest, _: HttpResponse) -> None:
        """The connection breaks before the answer is here."""
        if shop.up:
            shop.machine.send_failed(self.now, request, "connection reset")

    def crash(self, shop: Shop) -> None:
        """The process ends; what it knew is in its snapshot."""
        saved = shop.machine.snapshot(self.now, secrets=True).to_json()
        shop.up = False
        self.later(self.random.randint(0, 90), self.start_again, shop, saved, self.now)

    def start_again(self, shop: Shop, saved: str, since: int) -> None:
        """Another process goes on from there: with the token if it still lives, and with every block that stands."""
        self.restarts += 1
        shop.up = True
        shop.machine = TokenMachine.restore(
            GRANT, Snapshot.from_json(saved), self.now, self.now - since, policy=POLICY, draw=self.random.random
        )
        self.later(self.random.randint(200, 900), self.crash, shop)

    # What must hold
    # --------------

    def check(self, shop: Shop) -> None:
        """The laws in this state, and after every step that could come next; once for each state that is new."""
        self.history.update(shop.machine.snapshot(self.now).to_json().encode())
        state = settle(POLICY, shop.machine.state_value, self.now)
        key = canonical(state, self.now)
        if key in self.seen:
            return
        self.seen.add(key)
        broken = [*broken_in(POLICY, state, self.now)]
        for happened in enabled_inputs(POLICY, state, self.now):
            broken += broken_by(POLICY, state, happened, *step(POLICY, state, happened))
        assert not broken, broken
        self.check_that_a_token_would_come(shop.machine)

    def check_that_a_token_would_come(self, machine: TokenMachine) -> None:
        """In a fork nothing goes wrong any more. The real machine is untouched, as its state and hash show."""
        before, fork, now = machine.state_value, machine.fork(draw=lambda: 0.5), float(self.now)
        while fork.authorization(now) is None:
            action = fork.poll(now)
            if isinstance(action, Wait):
                now = action.until
            else:
                fork.receive_response(now, fork.start_request(now), granted("what-if", 60))
        assert now - self.now <= liveness_bound(POLICY), "a token comes in time"
        assert (machine.state_value, hash(machine.state_value)) == (before, hash(before))


def simulate(seed: int) -> str:
    """Run one seed; what came of it, in one line."""
    world = Simulator(seed)
    world.run()
    paid, turned_away = (sum(getattr(shop, name) for shop in world.shops) for name in ("paid", "turned_away"))
    return (
        f"seed {seed}: {paid} payments, {turned_away} turned away, {world.requests} token requests,"
        f" {world.restarts} restarts, {len(world.seen)} states, history {world.history.hexdigest()[:12]}"
    )


if __name__ == "__main__":
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    line = simulate(seed)
    assert line == simulate(seed), "the same seed takes the same course"
    print(line)
