"""BearerAuth of httpx and httpx2: what is signed, what a 401 leads to, and what callers see. No socket is opened."""

from __future__ import annotations

import gc
import gzip
import itertools
import json
import logging
import sys
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any
from unittest.mock import Mock

import pytest

from evertoken import (
    ClientCredentials,
    EndpointLocked,
    HttpResponse,
    LocalProtocolError,
    Policy,
    Profile,
    Rejection,
    TokenEndpoint,
    TokenState,
    TokenUnavailable,
)
from evertoken._secrecy import replace
from evertoken.testing import ServerRequest, TokenBehaviour, TokenFault
from evertoken_transports import RequestNotSigned, _signing
from tests.kits import canary
from tests.kits.httpx_kits import LIBRARIES, RUNTIMES, SCA, TOKEN_401, UNKNOWN_401, Answer, Kit, Theirs, run_in
from tests.kits.wire import fifty_megabytes
from tests.kits.worlds import World, run_in_threads

LOCKED_400: Answer = (400, {}, b'{"error": "unauthorized_client"}')
LOCKED_TOKEN = TokenBehaviour(fault=TokenFault.LOCKED)
ENOUGH = 65_536
PAST_ANY_GRACE = 120.0


@pytest.fixture(params=[(library, runtime) for library in LIBRARIES for runtime in RUNTIMES], ids="-".join)
def kit(request: pytest.FixtureRequest) -> Iterator[Kit]:
    library, runtime = request.param
    made = Kit(library, World(), runtime)
    yield made
    made.close()


@pytest.fixture(params=LIBRARIES)
def blocking(request: pytest.FixtureRequest) -> Iterator[Kit]:
    """Only the synchronous client: where the test drives a flow by hand, or holds a stream."""
    made = Kit(request.param, World())
    yield made
    made.close()


def asked_for_tokens(kit: Kit) -> int:
    return len(kit.world.token_requests())


def raised_by(act: Callable[[], object]) -> Theirs:
    """What ``act`` raises. An error of these libraries holds the request, and its pickle the value that it carried."""
    try:
        act()
    except Exception as error:  # noqa: BLE001 (the test looks at it)
        return error
    raise AssertionError("nothing was raised")


# What is signed
# --------------


def test_every_call_to_the_api_carries_the_token_and_one_request_is_made_for_it(kit: Kit) -> None:
    client = kit.client()
    assert [client.get("/users").status_code for _ in range(5)] == [200] * 5
    assert set(kit.api.signatures) == {kit.world.coordinator.machine.authorization(kit.world.clock())}
    assert asked_for_tokens(kit) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/users",
        "http://api.sandbox.mangopay.com/v2.01/canary/users",
        "https://api.sandbox.mangopay.com:8443/v2.01/canary/users",
        "https://api.sandbox.mangopay.com.evil.example/users",
        "https://user:word@elsewhere.example/users",
    ],
)
def test_a_request_to_another_origin_goes_out_unsigned_and_is_reported(kit: Kit, url: str) -> None:
    assert kit.client().get(url, auth=kit.auth()).status_code == 200
    assert kit.api.signatures == [None]
    assert asked_for_tokens(kit) == 0
    (event,) = kit.events
    assert isinstance(event, RequestNotSigned)
    assert event.origin == url.replace("user:word@", "").partition("/users")[0].partition("/v2.01")[0]


@pytest.mark.parametrize(
    "url", ["HTTPS://API.Sandbox.Mangopay.com:443/v2.01/canary/users", "https://files.example.com:8443/upload"]
)
def test_origins_are_compared_as_scheme_host_and_port_and_more_can_be_named(kit: Kit, url: str) -> None:
    auth = kit.auth(origins=("https://FILES.example.com:8443/",))
    kit.client(auth).get(url)
    assert kit.api.signatures[0] is not None
    assert not [event for event in kit.events if isinstance(event, RequestNotSigned)]


def test_the_first_unsigned_request_to_an_origin_is_a_warning_that_says_what_to_do(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    auth = kit.auth()
    client = kit.client(auth)
    for url in ("http://localhost/a", "http://localhost/b", "http://127.0.0.1/a", "http://localhost/c"):
        client.get(url)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [warning.split()[3] for warning in warnings] == ["http://localhost", "http://127.0.0.1"]
    assert f"api_base ({auth.api_base})" in warnings[0]
    assert "origins=" in warnings[0]
    assert len(kit.events) == 4


def test_a_client_of_many_thousand_origins_is_warned_of_some(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_signing, "_MOST_TOLD", 3)
    client = kit.client(kit.auth())
    for number in range(9):
        client.get(f"https://{number}.example/")
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 3
    assert len(kit.events) == 9


def test_our_value_replaces_a_header_at_the_api_and_leaves_it_alone_elsewhere(kit: Kit) -> None:
    client = kit.client()
    own = {"Authorization": "Basic b3du"}
    client.get("/users", headers=own)
    client.get("https://elsewhere.example/", headers=own)
    assert kit.api.signatures[0] != own["Authorization"]
    assert kit.api.signatures[1] == own["Authorization"]


def test_a_redirect_to_another_origin_loses_the_token(kit: Kit) -> None:
    kit.api.answers = [(302, {"Location": "https://elsewhere.example/"}, b""), TOKEN_401]
    answer = kit.client(follow_redirects=True).get("/users")
    assert answer.status_code == 401
    assert kit.api.signatures[1] is None
    assert asked_for_tokens(kit) == 1


def test_without_a_token_the_caller_gets_the_reason_and_the_api_is_not_called(kit: Kit) -> None:
    kit.world.server.next_token_requests(LOCKED_TOKEN)
    with pytest.raises(EndpointLocked):
        kit.client().get("/users")
    assert not kit.api.requests
    assert not isinstance(EndpointLocked, kit.library.HTTPError)


def test_the_wait_for_a_token_is_bounded_by_timeout(kit: Kit) -> None:
    kit.world.server.next_token_requests(*[TokenBehaviour(fault=TokenFault.SERVER_ERROR, status=500)] * 2)
    with pytest.raises(TokenUnavailable):
        kit.client(kit.auth(timeout=0.1)).get("/users")
    assert asked_for_tokens(kit) == 1


def test_a_call_that_cannot_wait_for_a_token_starts_the_request_beside_it(blocking: Kit) -> None:
    client = blocking.client(blocking.auth(timeout=0))
    with suppress(TokenUnavailable):  # A quick answer may be there in time all the same.
        client.get("/users")
    blocking.world.settle()
    assert client.get("/users").status_code == 200


def test_a_closed_source_is_named_as_such(kit: Kit) -> None:
    auth = kit.auth()
    auth.source.close()
    with pytest.raises(LocalProtocolError, match="closed"):
        kit.client(auth).get("/users")


def test_a_hundred_auth_objects_used_once_and_dropped_make_one_token_request(blocking: Kit) -> None:
    grant = canary.grant(client_id=f"canary-{blocking.library.__name__}")
    requests = itertools.count(1)
    made: list[int] = []

    def exchange(_: object) -> HttpResponse:
        made.append(next(requests))
        body = {"access_token": canary.token(made[-1]), "token_type": "bearer", "expires_in": 3600}
        return HttpResponse(200, (), json.dumps(body).encode())

    client = blocking.library.Client(transport=blocking.transport())
    for number in range(100):
        auth = blocking.adapter.BearerAuth(grant, exchange=exchange)
        assert client.get(f"{auth.api_base}/users", auth=auth).status_code == 200
        if number in (0, 50):
            gc.collect()
    assert made == [1]


# What a rejected token leads to
# ------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
def test_a_call_whose_token_was_the_cause_is_repeated_once_with_another(kit: Kit, method: str) -> None:
    kit.api.answers = [TOKEN_401]
    answer = kit.client().request(method, "/users")
    assert answer.status_code == 200
    assert [earlier.status_code for earlier in answer.history] == [401]
    first, second = kit.api.signatures
    assert first != second
    assert asked_for_tokens(kit) == 2


@pytest.mark.parametrize("status", [400, 403, 404, 422, 429])
def test_a_refusal_that_names_the_token_is_about_the_token_whatever_its_status(kit: Kit, status: int) -> None:
    kit.api.answers = [(status, {"WWW-Authenticate": 'Bearer realm="api", error="invalid_token"'}, b"no")]
    answer = kit.client().post("/users", json={})
    assert answer.status_code == 200
    assert [earlier.status_code for earlier in answer.history] == [status]
    assert asked_for_tokens(kit) == 2


@pytest.mark.parametrize(("method", "status"), [("GET", 200), ("HEAD", 200), ("OPTIONS", 200), ("POST", 401)])
def test_a_401_that_does_not_say_why_repeats_safe_methods_only(kit: Kit, method: str, status: int) -> None:
    client = kit.client()
    client.get("/users")
    kit.world.advance(PAST_ANY_GRACE)
    kit.api.answers = [UNKNOWN_401]
    assert client.request(method, "/users").status_code == status
    client.get("/users")
    assert asked_for_tokens(kit) == 2


def test_a_body_of_bytes_is_sent_again_whole(kit: Kit) -> None:
    kit.api.answers = [TOKEN_401]
    assert kit.client().post("/users", json={"name": "value"}).status_code == 200
    first, second = kit.api.requests
    assert first == second
    assert json.loads(second[2]) == {"name": "value"}


def test_a_body_that_was_consumed_is_never_sent_again_but_the_token_is_dropped(kit: Kit) -> None:
    client = kit.client()
    kit.api.answers = [TOKEN_401]
    answer = client.post("/users", content=kit.parts(b"one", b"two"))
    assert answer.status_code == 401
    assert len(kit.api.requests) == 1
    client.get("/users")
    assert kit.api.signatures[0] != kit.api.signatures[1]


def test_a_multipart_body_is_sent_again_only_if_it_was_read_before(kit: Kit) -> None:
    client = kit.client()
    unread, read = (client.build_request("POST", "/users", files={"file": ("name", b"content")}) for _ in range(2))
    if kit.runtime == "threads":
        read.read()
    else:
        run_in(kit.runtime, read.aread)
    kit.api.answers = [TOKEN_401]
    assert client.send(unread).status_code == 401
    kit.world.advance(PAST_ANY_GRACE)
    kit.api.answers = [TOKEN_401]
    assert client.send(read).status_code == 200
    assert kit.api.requests[1] == kit.api.requests[2]


def test_the_second_401_is_the_callers_and_is_learnt_from(kit: Kit) -> None:
    kit.api.answers = [TOKEN_401, TOKEN_401]
    answer = kit.client().get("/users")
    assert answer.status_code == 401
    assert answer.json() == {"Type": "invalid_credentials"}
    assert len(kit.api.requests) == 2
    assert [type(event).__name__ for event in kit.events].count("TokenKept") == 1


def test_a_server_that_forgets_its_tokens_three_times_within_a_minute_costs_nobody_a_401(kit: Kit) -> None:
    client = kit.client()
    assert client.get("/users").status_code == 200
    for _ in range(3):
        kit.world.advance(25)
        kit.api.answers = [TOKEN_401]
        assert [client.get("/users").status_code for _ in range(3)] == [200] * 3
    assert asked_for_tokens(kit) == 4


def test_the_machine_is_told_once_that_a_token_has_worked_and_only_by_a_2xx_of_the_api(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(kit.world.coordinator, "token_worked", told.append)
    client = kit.client()
    kit.api.answers = [(404, {}, b""), (500, {}, b"")]
    for _ in range(2):
        client.get("/users")
    client.get("https://elsewhere.example/users", auth=kit.auth())
    assert told == []
    for _ in range(3):
        client.get("/users")
    assert told == [kit.world.coordinator.machine.authorization(kit.world.clock())]


def test_an_api_that_rejects_everything_costs_one_forced_refresh_per_interval(kit: Kit) -> None:
    kit.api.answers = [TOKEN_401] * 100
    client = kit.client()
    assert {client.get("/users").status_code for _ in range(20)} == {401}
    assert asked_for_tokens(kit) == 2
    assert len(kit.api.requests) == 21


def test_20_calls_with_a_revoked_token_are_all_served_with_one_token_request(kit: Kit) -> None:
    def ask_the_model(request: Theirs) -> Theirs:
        lines = tuple(request.headers.multi_items())
        asked = ServerRequest(request.method, request.url.path, lines, request.read())
        answer = kit.world.server.handle(kit.world.clock(), asked).response
        assert answer is not None
        if answer.status == 401:
            everyone.wait()
        return kit.library.Response(answer.status, headers=list(answer.headers), content=answer.body)

    everyone = threading.Barrier(20)
    client = kit.client()
    client.get("/users")
    kit.api.answers = [ask_the_model] * 40
    kit.world.server.revoke_all(kit.world.clock())
    answers = run_in_threads(20, lambda _: client.get("/users").status_code)()
    assert answers == [200] * 20
    assert asked_for_tokens(kit) == 2


def test_replay_can_be_turned_off_and_the_token_is_dropped_nonetheless(kit: Kit) -> None:
    kit.api.answers = [TOKEN_401]
    client = kit.client(kit.auth(replay=False))
    assert client.get("/users").status_code == 401
    assert client.get("/users").status_code == 200
    assert len(kit.api.requests) == 2
    assert kit.api.signatures[0] != kit.api.signatures[1]


def test_if_no_other_token_can_be_had_the_caller_gets_the_401_whole(kit: Kit) -> None:
    client = kit.client()
    client.get("/users")
    kit.world.server.next_token_requests(LOCKED_TOKEN)
    kit.api.answers = [TOKEN_401]
    answer = client.get("/users")
    assert (answer.status_code, answer.json()) == (401, {"Type": "invalid_credentials"})
    assert answer.history == []


@pytest.mark.parametrize(
    ("verdict", "has_another", "repeats"),
    [
        (Rejection.DROPPED, True, True),
        (Rejection.SUPERSEDED, True, True),
        (Rejection.KEPT, True, False),
        (Rejection.DROPPED, False, False),
    ],
)
def test_a_call_is_repeated_unless_the_token_is_kept_and_only_with_another(
    blocking: Kit, verdict: Rejection, monkeypatch: pytest.MonkeyPatch, *, has_another: bool, repeats: bool
) -> None:
    auth = blocking.auth()
    flow = auth.sync_auth_flow(request := blocking.library.Request("GET", f"{auth.api_base}/users"))
    next(flow)
    value = "Bearer other" if has_another else request.headers["Authorization"]
    monkeypatch.setattr(auth.source, "token_rejected", Mock(return_value=verdict))
    monkeypatch.setattr(auth.source, "authorization_nowait", lambda: value)
    answer = blocking.library.Response(401, json={"Type": "invalid_credentials"}, request=request)
    if repeats:
        assert flow.send(answer).headers["Authorization"] == "Bearer other"
    else:
        with pytest.raises(StopIteration):
            flow.send(answer)


def test_an_answer_that_asks_for_customer_authentication_is_left_alone(kit: Kit) -> None:
    kit.api.answers = [SCA]
    answer = kit.client().get("/users")
    assert answer.status_code == 401
    assert "PendingUserAction" in answer.headers["WWW-Authenticate"]
    assert (len(kit.api.requests), asked_for_tokens(kit)) == (1, 1)


@pytest.mark.parametrize("status", [403, 404, 407, 429, 500])
def test_no_other_status_is_about_the_token(kit: Kit, status: int) -> None:
    kit.api.answers = [(status, {}, b'{"Type": "invalid_credentials"}')]
    assert kit.client().get("/users").status_code == status
    assert (len(kit.api.requests), asked_for_tokens(kit)) == (1, 1)


def test_a_401_to_a_request_that_did_not_carry_our_value_is_ignored(kit: Kit) -> None:
    def sign_otherwise(request: Theirs) -> None:
        request.headers["Authorization"] = "Bearer other"

    kit.api.answers = [TOKEN_401]
    client = kit.client(hooks={"request": [sign_otherwise]})
    assert client.get("/users").status_code == 401
    assert (len(kit.api.requests), asked_for_tokens(kit)) == (1, 1)


def test_a_401_from_another_origin_is_ignored_even_if_the_token_was_sent_there(blocking: Kit) -> None:
    auth = blocking.auth()
    flow = auth.sync_auth_flow(request := blocking.library.Request("GET", f"{auth.api_base}/users"))
    next(flow)
    elsewhere = blocking.library.Request("GET", "https://elsewhere.example/", headers=request.headers)
    with pytest.raises(StopIteration):
        flow.send(blocking.library.Response(401, json={"Type": "invalid_credentials"}, request=elsewhere))
    assert asked_for_tokens(blocking) == 1
    assert auth.source.authorization_nowait() == request.headers["Authorization"]


def test_after_a_redirect_the_request_that_was_rejected_is_repeated_and_not_the_one_before(kit: Kit) -> None:
    kit.api.answers = [(303, {"Location": "/v2.01/canary/done"}, b""), TOKEN_401]
    answer = kit.client(follow_redirects=True).post("/users", json={})
    assert answer.status_code == 200
    assert [method for method, _, _ in kit.api.requests] == ["POST", "GET", "GET"]


def test_a_locked_account_blocks_the_endpoint_and_the_caller_gets_the_400(kit: Kit) -> None:
    kit.api.answers = [LOCKED_400]
    auth = kit.auth()
    answer = kit.client(auth).get("/users")
    assert (answer.status_code, answer.json()) == (400, {"error": "unauthorized_client"})
    assert kit.world.coordinator.machine.state(kit.world.clock()) is TokenState.BLOCKED
    assert auth.source.authorization_nowait() is not None


def test_the_word_of_one_vendor_for_a_lock_blocks_no_endpoint_of_another(blocking: Kit) -> None:
    ours = blocking.world.grant
    other = replace(ours, endpoint=replace(ours.endpoint, profile=Profile()))
    auth = blocking.adapter.BearerAuth(other, coordinator=blocking.world.coordinator, exchange=blocking.world.endpoint)
    blocking.api.answers = [LOCKED_400]
    assert blocking.client(auth).get("/users").status_code == 400
    assert blocking.world.coordinator.machine.state(blocking.world.clock()) is TokenState.VALID


def test_any_other_400_changes_nothing(kit: Kit) -> None:
    kit.api.answers = [(400, {}, b'{"Type": "param_error"}')]
    assert kit.client().get("/users").json() == {"Type": "param_error"}
    assert kit.world.coordinator.machine.state(kit.world.clock()) is TokenState.VALID


# Bodies of answers
# -----------------


def test_under_stream_the_caller_gets_every_byte_of_a_401(blocking: Kit) -> None:
    chunks = [bytes([n]) * 30_000 for n in range(6)]
    blocking.api.answers = [blocking.answer_with(401, stream := blocking.stream(iter(chunks)))]
    with blocking.client(blocking.auth(replay=False)).stream("POST", "/users") as answer:
        assert ENOUGH <= stream.read < sum(map(len, chunks))
        assert not stream.closed
        assert b"".join(answer.iter_bytes()) == b"".join(chunks)
    assert stream.closed == 1


@pytest.mark.parametrize("status", [200, 302, 403, 404, 500])
def test_no_other_body_is_touched(blocking: Kit, status: int) -> None:
    blocking.api.answers = [blocking.answer_with(status, stream := blocking.stream(iter([b"body"])))]
    with blocking.client().stream("GET", "/users") as answer:
        assert stream.read == 0
        assert answer.read() == b"body"


def test_a_rejection_under_stream_is_repeated_too(blocking: Kit) -> None:
    blocking.api.answers = [blocking.answer_with(401, first := blocking.stream(iter([TOKEN_401[2]])))]
    with blocking.client().stream("GET", "/users") as answer:
        assert answer.read() == b"served"
    assert first.closed == 1


def test_a_body_that_was_read_to_its_end_frees_its_connection_before_the_wait_for_a_token(blocking: Kit) -> None:
    stream = blocking.stream(iter([TOKEN_401[2]]))
    auth = blocking.auth()
    flow = auth.sync_auth_flow(request := blocking.library.Request("GET", f"{auth.api_base}/users"))
    next(flow)
    blocking.world.server.next_token_requests(LOCKED_TOKEN)
    with pytest.raises(StopIteration):
        flow.send(blocking.library.Response(401, stream=stream, request=request))
    assert stream.closed == 1


def test_an_endless_401_is_read_up_to_a_limit_and_let_go(kit: Kit) -> None:
    client = kit.client()
    client.get("/users")
    kit.world.advance(PAST_ANY_GRACE)
    stream = kit.stream(itertools.repeat(b"x" * 1_000))
    kit.api.answers = [kit.answer_with(401, stream)]
    answer = client.get("/users")
    assert answer.status_code == 200
    assert stream.read <= ENOUGH + 1_000
    assert stream.closed == 1
    assert len(answer.history[0].content) <= ENOUGH


def _deflate(content: bytes) -> bytes:
    bare = zlib.compressobj(wbits=-15)
    return bare.compress(content) + bare.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(TOKEN_401[2], mtime=0)),
        ("x-gzip", gzip.compress(TOKEN_401[2], mtime=0)),
        ("deflate", zlib.compress(TOKEN_401[2])),
        ("deflate", _deflate(TOKEN_401[2])),
        ("identity", TOKEN_401[2]),
    ],
)
def test_a_compressed_401_is_understood(kit: Kit, coding: str, body: bytes) -> None:
    kit.api.answers = [(401, {"Content-Encoding": coding}, body)]
    answer = kit.client().post("/users")
    assert answer.status_code == 200
    assert answer.history[0].json() == {"Type": "invalid_credentials"}


@pytest.mark.parametrize(("coding", "body"), [("gzip", b"not gzip"), ("br", b"x"), ("gzip, gzip", b"x"), ("", b"")])
def test_a_coding_that_cannot_be_read_counts_as_an_empty_body(kit: Kit, coding: str, body: bytes) -> None:
    client = kit.client()
    client.get("/users")
    kit.world.advance(PAST_ANY_GRACE)
    kit.api.answers = [(401, {"Content-Encoding": coding}, body)]
    answer = client.get("/users")
    assert answer.status_code == 200
    assert answer.history[0].content == b""


def test_48_kb_that_are_50_mb_stay_small_in_the_history(kit: Kit) -> None:
    bomb = fifty_megabytes()
    kit.client().get("/users")
    kit.world.advance(PAST_ANY_GRACE)
    kit.api.answers = [(401, {"Content-Encoding": "gzip"}, bomb)]
    answer = kit.client().get("/users")
    assert answer.status_code == 200
    assert len(answer.history[0].content) <= ENOUGH


def test_a_body_that_fails_while_it_is_looked_at_fails_for_the_one_who_reads_it(blocking: Kit) -> None:
    def broken() -> Iterator[bytes]:
        yield b"part"
        raise blocking.library.ReadError("connection reset")

    blocking.api.answers = [blocking.answer_with(401, blocking.stream(broken()))] * 2
    client = blocking.client(blocking.auth(replay=False))
    with client.stream("GET", "/users") as answer:
        chunks = answer.iter_raw()
        assert next(chunks) == b"part"
        error = raised_by(lambda: next(chunks))
    assert isinstance(error, blocking.library.ReadError)
    assert error.request is answer.request


def test_a_hook_that_reads_the_answer_does_no_harm(kit: Kit) -> None:
    kit.api.answers = [TOKEN_401]
    client = kit.client(hooks={"response": [kit.read]})
    answer = client.post("/users")
    assert (answer.status_code, answer.history[0].json()) == (200, {"Type": "invalid_credentials"})


def test_a_hook_that_uses_the_answer_up_leaves_an_empty_body(blocking: Kit) -> None:
    blocking.api.answers = [TOKEN_401]

    def use_up(answer: Theirs) -> None:
        list(answer.iter_raw())

    client = blocking.client(blocking.auth(replay=False), hooks={"response": [use_up]})
    with client.stream("POST", "/users") as answer:
        assert answer.status_code == 401


def test_the_time_that_a_rejected_call_took_is_still_known(kit: Kit) -> None:
    kit.api.answers = [TOKEN_401]
    answer = kit.client(kit.auth(replay=False)).get("/users")
    assert answer.elapsed.total_seconds() >= 0


# What nobody else sees, and what nothing holds
# ---------------------------------------------


def test_hooks_cookies_and_history_of_the_client_never_see_the_token_request(kit: Kit) -> None:
    seen: list[str] = []

    def see(message: Theirs) -> None:
        seen.append(str(message.url))

    kit.api.answers = [TOKEN_401]
    client = kit.client(hooks={"request": [see], "response": [see]})
    answer = client.get("/users")
    assert seen == [f"{kit.auth().api_base}/users"] * 4
    assert not client.cookies
    # As with any auth class the request itself carries the value. The library hides it in the repr.
    canary.assert_clean(repr(answer), repr(answer.history), repr(answer.request.headers), repr(client))


@pytest.mark.parametrize("how", ["dropped", "closed", "collected"])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_flow_that_ends_anywhere_leaves_nothing_held(blocking: Kit, how: str, steps: int) -> None:
    auth = blocking.auth()
    request = blocking.library.Request("GET", f"{auth.api_base}/users")
    flow = auth.sync_auth_flow(request)
    if steps:
        next(flow)
    if steps == 2:
        flow.send(blocking.library.Response(401, json={"Type": "invalid_credentials"}, request=request))
    if how == "closed":
        run_in_threads(1, lambda _: flow.close())()
    elif how == "dropped":
        del flow
    else:
        cycle: list[Any] = [flow]
        cycle.append(cycle)
        del flow, cycle
        gc.collect()
    assert blocking.client(auth).get("/users").status_code == 200
    assert not blocking.world.coordinator._is_inside()


def test_a_request_object_that_is_sent_again_later_is_signed_anew(kit: Kit) -> None:
    client = kit.client()
    request = client.build_request("GET", "/users")
    client.send(request)
    kit.world.advance(100_000.0)
    client.send(request)
    assert kit.api.signatures[0] != kit.api.signatures[1]


def test_nothing_shows_a_secret_or_a_token(blocking: Kit) -> None:
    auth = blocking.auth()
    flow = auth.sync_auth_flow(blocking.library.Request("GET", f"{auth.api_base}/users"))
    request = next(flow)
    canary.assert_clean(auth, auth._flow, auth.source, repr(request), repr(flow.gi_frame.f_locals))


def test_the_traceback_of_a_failed_call_shows_no_secret(kit: Kit) -> None:
    def fail(_: object) -> None:
        raise kit.library.ReadTimeout("timed out")

    kit.api.answers = [TOKEN_401, fail]
    client = kit.client()
    error = raised_by(lambda: client.get("/users"))
    assert isinstance(error, kit.library.ReadTimeout)
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    canary.assert_clean(*(repr(frame.locals) for frame in frames))


# Wrong arguments
# ---------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"timeout": -1}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": "15"}, "timeout"),
        ({"origins": "https://files.example.com"}, "origins"),
        ({"origins": ("http://files.example.com",)}, "origins"),
        ({"origins": ("https://files.example.com/path",)}, "origins"),
        ({"origins": ("https://files.example.com?query",)}, "origins"),
        ({"origins": ("https://user@files.example.com",)}, "origins"),
        ({"origins": ("files.example.com",)}, "origins"),
        ({"proxy": "http://proxy.example"}, "exchange"),
    ],
)
def test_a_wrong_argument_is_named(blocking: Kit, options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        blocking.auth(**options)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"proxy": "no proxy"}, "proxy"), ({"ssl_context": True}, "ssl_context"), ({"policy": 5}, "policy")],
)
def test_a_wrong_argument_for_the_token_request_is_named_when_the_auth_is_made(
    blocking: Kit, options: dict[str, Any], named: str
) -> None:
    if named == "policy":
        options = {"policy": Policy(max_body=1_000), "coordinator": blocking.world.coordinator}
    with pytest.raises(ValueError, match=named):
        blocking.adapter.BearerAuth(canary.grant(), **options)


def test_a_grant_that_names_no_api_needs_origins(blocking: Kit) -> None:
    grant = ClientCredentials(TokenEndpoint("https://login.example/token"), "canary", canary.secret())
    with pytest.raises(ValueError, match="origins"):
        blocking.adapter.BearerAuth(grant)
    auth = blocking.adapter.BearerAuth(grant, origins=["https://api.example"])
    assert auth.api_base == ""


def test_the_flow_that_cannot_wait_refuses_instead_of_sending_unsigned(blocking: Kit) -> None:
    auth = blocking.auth()
    with pytest.raises(TypeError, match="async_auth_flow"):
        auth.auth_flow(blocking.library.Request("GET", f"{auth.api_base}/users"))


async def _async_exchange(_: object) -> HttpResponse:
    return HttpResponse(200)


def _exchange(_: object) -> HttpResponse:
    return HttpResponse(200)


@pytest.mark.parametrize("library", LIBRARIES)
def test_an_exchange_of_the_wrong_kind_is_refused_with_the_name_of_the_right_argument(library: str) -> None:
    adapter = import_module(f"evertoken_transports.{library}")
    for asynchronous in (_async_exchange, adapter.AsyncHttpxExchange()):
        with pytest.raises(TypeError, match=r"^exchange must be a plain callable; async_exchange takes"):
            adapter.BearerAuth(canary.grant(), exchange=asynchronous)
    for plain in (_exchange, adapter.HttpxExchange()):
        with pytest.raises(TypeError, match=r"^async_exchange must be a coroutine function; exchange takes"):
            adapter.BearerAuth(canary.grant(), async_exchange=plain)
    with pytest.raises(ValueError, match=r"^async_exchange has settings of its own"):
        adapter.BearerAuth(canary.grant(), async_exchange=_async_exchange, proxy="http://proxy.example")
    with pytest.raises(ValueError, match=r"^exchange has settings of its own.* trust_env"):
        adapter.BearerAuth(canary.grant(), exchange=_exchange, trust_env=False)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_is_an_import_error_that_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"evertoken_transports.{name}", raising=False)
    with pytest.raises(ImportError, match=rf"pip install {name}$"):
        import_module(f"evertoken_transports.{name}")


def test_help_shows_the_whole_reference(blocking: Kit) -> None:
    text = blocking.adapter.BearerAuth.__doc__
    assert blocking.library.__name__ in text
    assert "RFC 6750" in text
    assert "trust_env" in blocking.adapter.HttpxExchange.__doc__
