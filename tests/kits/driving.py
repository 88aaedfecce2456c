"""How the tests of the machine drive it: answers as an endpoint sends them, and a token in one line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from evertoken import (
    BlockKind,
    Challenge,
    ClientCredentials,
    HttpResponse,
    Outcome,
    Policy,
    SendRequest,
    TokenMachine,
    TokenRequest,
    Wait,
    WaitReason,
)
from tests.kits import canary

__all__ = (
    "AGED",
    "FAILED",
    "LIMITED",
    "LOCKED",
    "MALFORMED",
    "REFUSED",
    "UNAUTHORIZED",
    "UNCLEAR",
    "attempt",
    "bearer",
    "draws",
    "error",
    "granted",
    "machine",
    "sealed",
    "seasoned",
    "serve",
    "wait",
)


def error(status: int, code: str | None = None, **headers: str) -> HttpResponse:
    """An answer with an OAuth error code; a header's name has underscores for hyphens."""
    body = b"" if code is None else json.dumps({"error": code}).encode()
    return HttpResponse(status, [(name.replace("_", "-"), value) for name, value in headers.items()], body)


FAILED = error(503)
MALFORMED = HttpResponse(200, [], b"[]")
REFUSED = error(400, "invalid_client")
UNAUTHORIZED = error(401)
UNCLEAR = error(404)
LOCKED = error(400, "unauthorized_client")
LIMITED = error(429)


def granted(n: int = 0, expires_in: float | None = 300) -> HttpResponse:
    """The ``n``-th token; ``expires_in`` None where the answer names none."""
    answer: dict[str, object] = {"access_token": canary.token(n), "token_type": "bearer"}
    if expires_in is not None:
        answer["expires_in"] = expires_in
    return HttpResponse(200, [("Content-Type", "application/json")], json.dumps(answer).encode())


def bearer(n: int = 0) -> str:
    """The Authorization value of the ``n``-th token."""
    return f"Bearer {canary.token(n)}"


def draws(numbers: Iterable[float]) -> Iterator[float]:
    """``numbers`` one after another. One draw too many fails the test."""
    yield from numbers
    raise AssertionError("one draw too many")


def machine(
    settings: Policy | None = None,
    *,
    draw: float | Iterable[float] = 0.0,
    credentials: ClientCredentials | None = None,
    **policy: float,
) -> TokenMachine:
    """A machine with a marked secret; ``draw`` is what every draw gives, or the draws one by one."""
    grant = canary.grant() if credentials is None else credentials
    settings = settings or Policy(**policy)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    if isinstance(draw, int | float):
        number = float(draw)
        return TokenMachine(grant, policy=settings, draw=lambda: number)
    numbers = draws(draw)
    return TokenMachine(grant, policy=settings, draw=lambda: next(numbers))


def attempt(driven: TokenMachine, now: float, answer: HttpResponse, *, took: float = 0.0) -> Outcome:
    """One token request, started at ``now`` and answered ``took`` seconds later."""
    return driven.receive_response(now + took, driven.start_request(now), answer)


def serve(driven: TokenMachine, now: float, n: int = 0, expires_in: float | None = 300) -> TokenRequest:
    """Give the machine its ``n``-th token at ``now``; the request that brought it."""
    request = driven.start_request(now)
    driven.receive_response(now, request, granted(n, expires_in))
    assert driven.authorization(now) == bearer(n)
    return request


def wait(driven: TokenMachine, now: float, min_ttl: float = 0.0) -> tuple[float, WaitReason] | None:
    """What ``poll`` says at ``now``: None for SendRequest, else until when and why not."""
    action: SendRequest | Wait = driven.poll(now, min_ttl)
    return (action.until, action.reason) if isinstance(action, Wait) else None


AGED = 100_000.0
"""Seconds on the clock of a :func:`seasoned` machine when the first thing happens to it. The last is 1,066 s later."""


def sealed(grant: ClientCredentials, content: Mapping[str, object]) -> str:
    """A snapshot with this content, as somebody would write it who knows the secret of ``grant``."""
    named = {name: value for name, value in content.items() if name != "seal"}
    text = json.dumps(named, sort_keys=True, separators=(",", ":"))
    return json.dumps(named | {"seal": grant.seal("snapshot", f"{grant.form()!r}\0{text}")})


def seasoned() -> TokenMachine:
    """A machine with something in every field: a token, an attempt, a lost one, blocks, back-off, dropped tokens."""
    m = machine(draw=0.25)
    now = AGED
    serve(m, now, 0, 2_000)
    m.token_rejected(now + 80, bearer(0), Challenge.TOKEN)
    serve(m, now + 80, 1, 1_000)
    m.token_rejected(now + 100, bearer(1), Challenge.UNKNOWN)
    m.start_request(now + 1_050)
    m.endpoint_blocked(now + 1_055, BlockKind.LOCKED)
    m.lift_block(now + 1_061)
    m.start_request(now + 1_065)
    m.endpoint_blocked(now + 1_066, BlockKind.RATE_LIMITED, 100.0)
    return m
