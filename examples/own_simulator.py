"""A deterministic simulator of one's own, with its own clock, heap, network and truth, and token machines in it.

    python examples/own_simulator.py [seed]

Two shops take payments for half an hour. Their token requests get lost, come twice, come late and are refused, the API
refuses payments for good reasons and for bad ones, and now and then a shop's process ends and another goes on from its
snapshot. After every event the simulator checks what only it knows (no payment carries an expired token), the laws of
the machine in this state and one step ahead through all that could happen next, and, in a fork, that a token would come
if everything went well from here. A `DriverCheck` looks on, and says whether the shops keep the rules of a driver.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import random
import sys
from collections.abc import Callable

from evertoken import (
    HttpResponse,
    Policy,
    Rejection,
    SendRequest,
    Snapshot,
    TokenMachine,
    TokenRequest,
    Wait,
    mangopay,
    read_challenge,
)
from evertoken.testing import DriverCheck, broken_by, broken_in, canonical, enabled_inputs, liveness_bound
from evertoken.testing.functional import settle, step

GRANT = mangopay.sandbox(client_id="shop", api_key="made-up")
POLICY = Policy(retry_base=2, retry_cap=16, locked_wait=60, locked_wait_cap=240, refresh_jitter_share=0)
PAID = HttpResponse(200, [], b"{}")
BAD_TOKEN = HttpResponse(401, [], b'{"Type": "invalid_credentials"}')
BARE_401 = HttpResponse(401)
USER_HAS_TO_ACT = HttpResponse(401, [("WWW-Authenticate", "PendingUserAction RedirectUrl=https://sca.example")])


def granted(token: str, lifetime: int) -> HttpResponse:
    """The answer that issues ``token``."""
    body = {"access_token": token, "token_type": "bearer", "expires_in": lifetime}
    return HttpResponse(200, [("Content-Type", "application/json")], json.dumps(body).encode())


class Shop:
    """The driver: a process with its machine, up or down. It knows the world by its clock and by what it can send."""

    def __init__(self, world: Simulator, number: int) -> None:
        self.world = world
        self.check = DriverCheck(lambda: world.now, name=f"shop {number}")
        self.machine = self.new_machine()
        self.saved: tuple[str, int] | None = None
        self.up = True
        self.paid = self.turned_away = 0

    def new_machine(self) -> TokenMachine:
        """A machine that knows nothing yet."""
        return self.check.machine_class(GRANT, policy=POLICY, draw=self.world.random.random)

    def clock(self) -> int:
        """What the clock of this host shows."""
        return self.world.now

    def pay(self) -> None:
        """A customer pays if there is a token, and sends for one if one is wanted."""
        header = self.machine.authorization(self.clock())
        if header is None:
            self.turned_away += 1
        else:
            self.world.call(self, header)
        self.fetch()

    def fetch(self) -> None:
        """Send for a token if that is due. What is known is saved first, so that no request is forgotten in a crash."""
        if isinstance(self.machine.poll(self.clock()), SendRequest):
            request = self.machine.start_request(self.clock())
            self.save()
            self.send(request)

    def send(self, request: TokenRequest) -> None:
        """Hand a token request to the network. If that never says what comes of it, the machine finds it lost."""
        self.world.carry(self, request)

    def arrive(self, request: TokenRequest, response: HttpResponse) -> None:
        """An answer to ``request`` comes, by which the machine knows what it is worth."""
        if request.owner is self.machine.owner:  # Else the answer is for a process that has ended.
            self.machine.receive_response(self.clock(), request, response)
            self.save()

    def fail(self, request: TokenRequest) -> None:
        """The connection breaks before the answer is here."""
        if request.owner is self.machine.owner:
            self.machine.send_failed(self.clock(), request, "connection reset")
            self.save()

    def answered(self, header: str, answer: HttpResponse) -> None:
        """The API has answered a payment. The machine is told of a refusal, and says whether it was about the token."""
        if answer.status == 200:
            self.paid += 1
            self.machine.token_worked(self.clock(), header)
            return
        challenge = read_challenge(answer.status, answer.headers, answer.body, GRANT.endpoint.profile)
        if self.machine.token_rejected(self.clock(), header, challenge) is Rejection.DROPPED:
            self.fetch()
        self.turned_away += 1
        self.save()

    def save(self) -> None:
        """Keep what is known, and the moment, as a file would."""
        self.saved = self.machine.snapshot(self.clock(), secrets=True).to_json(), self.world.now

    def start(self) -> None:
        """Go on from what was kept: with the token if it still lives, and with every block that stands."""
        self.up = True
        if self.saved is None:
            self.machine = self.new_machine()
            return
        text, at = self.saved
        self.machine = self.check.machine_class.restore(
            GRANT,
            Snapshot.from_json(text),
            self.clock(),
            self.world.now - at,
            policy=POLICY,
            draw=self.world.random.random,
        )


class Simulator:
    """The world: everything that happens is an event on one heap, in the order of time and then of arrival."""

    seconds = 1_800
    lifetime = 60
    shop_class = Shop

    def __init__(self, seed: int, shops: int = 2) -> None:
        self.random = random.Random(seed)
        self.now = 0  # Whole seconds: machines take any int or float, and integers do not drift.
        self.expiry: dict[str, int] = {}  # The truth about every token, by the header that carries it.
        self.seq = self.requests = self.restarts = 0
        self.heap: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []
        self.seen: set[tuple[object, ...]] = set()
        self.history = hashlib.sha256()
        self.shops = [self.shop_class(self, number) for number in range(shops)]

    def later(self, seconds: int, action: Callable[..., None], *arguments: object) -> None:
        """Let something happen in so many seconds."""
        self.seq += 1
        heapq.heappush(self.heap, (self.now + seconds, self.seq, action, arguments))

    def run(self) -> None:
        """Run the half hour, event by event."""
        for shop in self.shops:
            self.later(self.random.randint(0, 5), self.customer, shop)
            self.later(self.random.randint(200, 900), self.crash, shop)
        while self.heap[0][0] < self.seconds:
            self.now, _, action, arguments = heapq.heappop(self.heap)
            action(*arguments)
            for shop in self.shops:
                self.check(shop)
        for shop in self.shops:
            assert not shop.check.end(), shop.check.broken

    # What happens
    # ------------

    def customer(self, shop: Shop) -> None:
        """Customers come one after another."""
        self.later(self.random.randint(1, 10), self.customer, shop)
        if shop.up:
            shop.pay()
        else:
            shop.turned_away += 1

    def carry(self, shop: Shop, request: TokenRequest) -> None:
        """Be the network. Where neither answer nor failure comes back, the machine itself finds the request lost."""
        shop.check.sent(request)
        self.requests += 1
        for _ in range(self.random.choice([0, 1, 1, 1, 1, 1, 1, 1, 2])):  # Lost on the way there, or doubled.
            response = self.answer()
            way = self.random.choice([0, 0, 0, 1, 2, 5, 30])
            breaks = self.random.random() < 0.25
            self.later(way, self.bring, shop, request, None if breaks else response)

    def answer(self) -> HttpResponse:
        """Be the token endpoint: answer with a token, an error, or a lock."""
        trouble = self.random.random()
        if trouble < 0.15:
            return HttpResponse(503, [("Retry-After", "3")])
        if trouble < 0.17:
            return HttpResponse(400, [], b'{"error": "unauthorized_client"}')
        token = f"token-{len(self.expiry) + 1}"
        self.expiry[f"Bearer {token}"] = self.now + self.lifetime
        return granted(token, 60)

    def bring(self, shop: Shop, request: TokenRequest, response: HttpResponse | None) -> None:
        """An answer comes back, or word that none will, if the shop is up."""
        if not shop.up:
            return
        if response is None:
            shop.check.failed(request)
            shop.fail(request)
        else:
            shop.check.answered(request)
            shop.arrive(request, response)

    def call(self, shop: Shop, header: str) -> None:
        """Be the API: take a payment, or refuse it with a 401, which may be about the token or not."""
        shop.check.api_call(header)
        assert self.now < self.expiry[header], "a payment carries an expired token"
        trouble = self.random.random()
        answer = BAD_TOKEN if trouble < 0.02 else BARE_401 if trouble < 0.04 else USER_HAS_TO_ACT
        answer = answer if trouble < 0.06 else PAID
        shop.check.api_answer(header, answer)
        shop.answered(header, answer)

    def crash(self, shop: Shop) -> None:
        """The process ends; what it knew is in its snapshot."""
        shop.check.crashed()
        shop.up = False
        self.later(self.random.randint(0, 90), self.start_again, shop)

    def start_again(self, shop: Shop) -> None:
        """Another process goes on from the snapshot."""
        self.restarts += 1
        shop.start()
        self.later(self.random.randint(200, 900), self.crash, shop)

    # What must hold
    # --------------

    def check(self, shop: Shop) -> None:
        """The laws in this state, and after every step that could come next; once for each state that is new."""
        machine = shop.machine.fork()  # A question to the machine itself would count as one of the driver's.
        self.history.update(machine.snapshot(self.now).to_json().encode())
        state = settle(POLICY, machine.state_value, self.now)
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
    """Run one seed, and say in one line what came of it."""
    world = Simulator(seed)
    world.run()
    paid, turned_away = (sum(getattr(shop, name) for shop in world.shops) for name in ("paid", "turned_away"))
    return (
        f"seed {seed}: {paid} payments, {turned_away} turned away, {world.requests} token requests,"
        f" {world.restarts} restarts, {len(world.seen)} states, history {world.history.hexdigest()[:12]}"
    )


if __name__ == "__main__":
    print(simulate(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
