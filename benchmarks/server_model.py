"""What one request costs at the server model, and at the parts of the machine that build a request and read an answer.

    python benchmarks/server_model.py

Printed is CPU time, in which other programs on the machine count little, and the best of several rounds, since noise
only adds to it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

from evertoken import ClientCredentials, HttpResponse, outcomes
from evertoken._answer import read_answer
from evertoken._http import build_request
from evertoken.testing import AuthorizationServer, Script, ServerRequest, TokenBehaviour, TokenFault

ROUNDS = 9
REQUESTS = 5_000
TOKEN_PATH = "/v2.01/oauth/token"
API_PATH = "/v2.01/client/users"

Work = Callable[[], object]


def server_of(*, dated: bool) -> tuple[AuthorizationServer, ClientCredentials]:
    """A fair-weather server as the simulated world has it, and the grant of its client."""
    server = AuthorizationServer(
        "client", "key", script=Script(lifetime=3_600), keep_arrivals=8, epoch=1_700_000_000 if dated else None
    )
    return server, server.grant("https://api.example")


def token_request(grant: ClientCredentials) -> ServerRequest:
    """One token request, as it reaches the server."""
    request = build_request(grant, 1, 30.0)
    return ServerRequest(request.method, TOKEN_PATH, request.headers, request.body)


def response_of(server: AuthorizationServer, request: ServerRequest) -> HttpResponse:
    """The answer to a request that is answered."""
    response = server.handle(0.0, request).response
    assert response is not None
    return response


def api_calls(*, dated: bool) -> Work:
    """Fair API calls with one valid token, ten a second."""
    server, grant = server_of(dated=dated)
    answer = read_answer(grant, response_of(server, token_request(grant)), max_body=65_536)
    assert isinstance(answer, outcomes.Granted)
    request = ServerRequest("GET", API_PATH, (("Authorization", f"Bearer {answer.access_token}"),))

    def work() -> None:
        for number in range(REQUESTS):
            server.handle(number / 10, request)

    return work


def grants(*, dated: bool) -> Work:
    """Fair grants, one a second."""
    server, grant = server_of(dated=dated)
    request = token_request(grant)

    def work() -> None:
        for number in range(REQUESTS):
            server.handle(number, request)

    return work


def requests_built() -> Work:
    """Token requests of one grant."""
    _, grant = server_of(dated=False)

    def work() -> None:
        for number in range(REQUESTS):
            build_request(grant, number, 30.0)

    return work


def answers_read() -> Work:
    """Fair answers, each with a token of its own."""
    server, grant = server_of(dated=False)
    request = token_request(grant)
    secrets = build_request(grant, 1, 30.0).secrets
    responses = [response_of(server, request) for _ in range(REQUESTS)]

    def work() -> None:
        for response in responses:
            read_answer(grant, response, max_body=65_536, secrets=secrets)

    return work


def limits_read() -> Work:
    """The same answer over and over: a 429 that says how long to wait, which takes longest to read."""
    fault = TokenBehaviour(fault=TokenFault.RATE_LIMITED_RESET)
    server = AuthorizationServer("client", "key", script=Script(token=fault))
    grant = server.grant("https://api.example")
    response = response_of(server, token_request(grant))
    secrets = build_request(grant, 1, 30.0).secrets

    def work() -> None:
        for _ in range(REQUESTS):
            read_answer(grant, response, max_body=65_536, secrets=secrets)

    return work


def microseconds(work: Work) -> float:
    """Microseconds of CPU time for one of the requests of ``work``."""
    best = float("inf")
    for _ in range(ROUNDS):
        gc.collect()
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best / REQUESTS * 1e6


def main() -> None:
    """Run all of it and print."""
    gc.disable()
    works = {
        "API call": api_calls(dated=False),
        "API call, dated": api_calls(dated=True),
        "grant": grants(dated=False),
        "grant, dated": grants(dated=True),
        "build_request": requests_built(),
        "read_answer": answers_read(),
        "read_answer, 429": limits_read(),
    }
    for name, work in works.items():
        print(f"{name:<16} {microseconds(work):6.2f} us")


if __name__ == "__main__":
    main()
