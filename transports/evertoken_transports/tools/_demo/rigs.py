"""The callers' auth objects: one honest ``BearerAuth`` for all, or one of three that break a promise on purpose.

The sabotaged ones are wrapped around public pieces. They are there to show that the verdict finds out.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Generator
from typing import NamedTuple

import httpx

from evertoken import ClientCredentials, HttpResponse, TokenMachine, TokenRequest
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._events import EventCallback
from evertoken_transports.httpx import BearerAuth, HttpxExchange
from evertoken_transports.threads import TokenSource
from evertoken_transports.tools._demo.story import Story, StoryError


@enum.unique
class Sabotage(enum.Enum):
    """A way to break a promise. The value is the name on the command line."""

    NO_SINGLE_FLIGHT = "no-single-flight"
    """Every caller asks for tokens of its own."""
    IGNORE_RETRY_AFTER = "ignore-retry-after"
    """The header is lost on the way to the machine."""
    REPLAY_REJECTED_TOKEN = "replay-rejected-token"
    """A call that was answered 401 is sent again as it was."""

    @classmethod
    def named(cls, name: str) -> Sabotage:
        """The sabotage of that name.

        Raises:
            StoryError: there is none.
        """
        for sabotage in cls:
            if sabotage.value == name:
                return sabotage
        raise StoryError(f"--sabotage: {name!r} is not one of {', '.join(sabotage.value for sabotage in cls)}")


class Rig(NamedTuple):
    """What signs calls, and where its tokens come from."""

    auth: httpx.Auth
    source: TokenSource
    api_base: str


def rigs_for(story: Story, grant: ClientCredentials, on_event: EventCallback, sabotage: Sabotage | None) -> list[Rig]:
    """One rig for all callers, or one for each."""
    if sabotage is None:
        auth = BearerAuth(grant, policy=story.policy, timeout=story.patience, trust_env=False, on_event=on_event)
        return [Rig(auth, auth.source, auth.api_base)]
    if sabotage is Sabotage.NO_SINGLE_FLIGHT:
        return [_rig_of_its_own(story, grant, on_event) for _ in range(story.threads)]
    exchange = _Forgetful() if sabotage is Sabotage.IGNORE_RETRY_AFTER else HttpxExchange(trust_env=False)
    auth = BearerAuth(grant, policy=story.policy, timeout=story.patience, on_event=on_event, exchange=exchange)
    signs = _Stubborn(auth) if sabotage is Sabotage.REPLAY_REJECTED_TOKEN else auth
    return [Rig(signs, auth.source, auth.api_base)]


def _rig_of_its_own(story: Story, grant: ClientCredentials, on_event: EventCallback) -> Rig:
    alone = Coordinator(TokenMachine(grant, policy=story.policy, draw=random.random))
    auth = BearerAuth(grant, coordinator=alone, timeout=story.patience, trust_env=False, on_event=on_event)
    return Rig(auth, auth.source, auth.api_base)


class _Forgetful:
    """An exchange that loses the header Retry-After."""

    def __init__(self) -> None:
        self._exchange = HttpxExchange(trust_env=False)

    def __call__(self, request: TokenRequest) -> HttpResponse:
        response = self._exchange(request)
        kept = [(name, value) for name, value in response.headers if name.lower() != "retry-after"]
        return HttpResponse(response.status, kept, response.body)


class _Stubborn(httpx.Auth):
    """Sends every call that was answered 401 once more as it was, before it lets ``BearerAuth`` see to it."""

    def __init__(self, auth: BearerAuth) -> None:
        self._auth = auth

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        flow = self._auth.sync_auth_flow(request)
        signed = next(flow)
        while True:
            response = yield signed
            if response.status_code == httpx.codes.UNAUTHORIZED:
                response = yield signed
            try:
                signed = flow.send(response)
            except StopIteration:
                return
