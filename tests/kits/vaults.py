"""Simulated clients whose secret is in a vault, which they ask before each token request and again after a refusal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from typing_extensions import override

from evertoken import Blocked, BlockKind, ClientCredentials, HttpResponse, SendRequest, TokenRequest, mangopay
from evertoken.testing import Arrival, ClientPlan
from evertoken.testing.world._clients import Client, Surroundings
from evertoken.testing.world._network import api_key

if TYPE_CHECKING:
    from evertoken.testing.world._world import World

__all__ = ("AskingClient", "SealedClient")


def _vault() -> str:
    raise AssertionError("a simulated vault is asked by the client")


class AskingClient(Client):
    """A client that asks its vault when the transports would. The vault has a new key as soon as the server has it."""

    answers_within = 2.0
    """Seconds that the vault takes at most."""

    def __init__(
        self, number: int, plan: ClientPlan, grant: ClientCredentials, draw: Callable[[], float], world: Surroundings
    ) -> None:
        self.refused: Counter[int] = Counter()
        """How many requests were refused, by the number of the key that the server had by then."""
        super().__init__(number, plan, grant, draw, world)

    @override
    def _begin_anew(self) -> None:
        self.grant = mangopay.sandbox("client", _vault, base_url="https://api.example")
        super()._begin_anew()

    @override
    def rotate(self, grant: ClientCredentials) -> None:
        """Let the client look what it may do. ``grant`` is not handed out, since the new key is in the vault."""
        self.wake()

    @override
    def _carry(self, now: float, min_ttl: float, why: SendRequest) -> None:
        request = self.machine.start_request(now, min_ttl)
        self.starts[self.machine.state_value.now] = (self.world.time, self.nanoseconds())
        self._ask(request, None)

    @override
    def receive(self, request: TokenRequest, response: HttpResponse) -> None:
        if response.status == 401:
            self.refused[self._world._keys] += 1
        if self._may_have_been_replaced(request, response):
            self._ask(request, response)
        else:
            super().receive(request, response)

    def _may_have_been_replaced(self, request: TokenRequest, response: HttpResponse) -> bool:
        read = self.machine.read_response(request, response)
        refused = isinstance(read, Blocked) and read.kind in (BlockKind.REFUSED, BlockKind.UNCLEAR)
        return refused and not self.machine.state_value.credentials.refusals_lifted

    def _ask(self, request: TokenRequest, refusal: HttpResponse | None) -> None:
        world, secret = self._world, self._secret()
        seconds = world.random.between(0.0, self.answers_within if world.faulty else 0.0)
        told = (request, refusal, world.carried, secret)
        world.after(seconds, world.at_client, self, self.epoch, self._vault_answered, told)

    def _vault_answered(
        self, request: TokenRequest, refusal: HttpResponse | None, carried: Arrival | None, secret: str | None
    ) -> None:
        now = self.now()
        if refusal is not None:
            self._world.carried = carried
            outcome = self.machine.receive_response(now, request, refusal)
            self._world.carried = None
            if secret is not None:
                self.machine.replace_credentials(now, self.machine.grant.with_secret(secret))
            self._came_of_it(outcome)
        elif secret is None:
            self._came_of_it(self.machine.secret_failed(now, request, "the vault is sealed"))
        else:
            self._go_on(self.machine.secret_told(now, request, secret))

    def _go_on(self, signed: TokenRequest | None) -> None:
        if signed is None or signed.asked_at is None:
            self.wake()
        else:
            self.starts[signed.asked_at] = (self.world.time, self.nanoseconds())
            self.world.send_token_request(self, signed)

    def _secret(self) -> str | None:
        return api_key(self._world._keys)

    @property
    def _world(self) -> World:
        return cast("World", self.world)


class SealedClient(AskingClient):
    """A client whose vault fails one time in four, and may take half as long again as a request is given.

    When the faults are over it does neither.
    """

    answers_within = 15.0

    @override
    def _secret(self) -> str | None:
        return None if self._world.faulty and self._world.random.chance(0.25) else super()._secret()
