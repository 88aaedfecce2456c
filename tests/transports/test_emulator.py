"""The emulator over real loopback sockets: every delivery as the model wants it, and nothing left behind."""

from __future__ import annotations

import importlib
import logging
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from evertoken.testing import (
    ApiBehaviour,
    ApiFault,
    AuthorizationServer,
    Route,
    Script,
    TokenBehaviour,
    TokenFault,
)
from evertoken_transports.emulator import Emulator
from tests.kits import canary
from tests.kits.worlds import LIMIT, until

FORM = b"grant_type=client_credentials"


@contextmanager
def emulated(script: Script | None = None) -> Generator[Emulator]:
    """An emulator with marked secrets, and the promise that no thread of it outlives the block."""
    before = set(threading.enumerate())
    server = AuthorizationServer("canary", canary.secret(), script=script or Script(), token_prefix=canary.TOKEN_MARK)
    with Emulator(server) as emulator:
        yield emulator
    assert set(threading.enumerate()) <= before


def failing(fault: TokenFault, **options: float) -> Script:
    return Script(token=TokenBehaviour(fault=fault, **options))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def connect(emulator: Emulator) -> socket.socket:
    host, port = emulator.base_url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=LIMIT)


def token_request(emulator: Emulator) -> bytes:
    """The bytes of one token request that asks the server to close the connection afterwards."""
    (header,) = [line for line in emulator.grant().message().headers if line[0] == "Authorization"]
    head = (
        "POST /v2.01/oauth/token HTTP/1.1",
        "Host: emulator",
        f"{header[0]}: {header[1]}",
        f"Content-Length: {len(FORM)}",
        "Connection: close",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + FORM


def read_to_the_end(connection: socket.socket) -> bytes:
    received = b""
    while data := connection.recv(65_536):
        received += data
    return received


def raw_answer(emulator: Emulator, request: bytes | None = None) -> bytes:
    with connect(emulator) as connection:
        connection.sendall(token_request(emulator) if request is None else request)
        return read_to_the_end(connection)


def ask(client: httpx.Client, emulator: Emulator) -> httpx.Response:
    return client.post(f"{emulator.base_url}/v2.01/oauth/token", content=FORM, auth=("canary", canary.secret()))


def bearer(response: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {response.json()['access_token']}"}


# Deliveries.


def test_an_answer_goes_out_whole_over_a_connection_that_is_kept() -> None:
    with emulated() as emulator, httpx.Client(limits=httpx.Limits(max_connections=1)) as client:
        granted = ask(client, emulator)
        served = client.post(f"{emulator.grant().api_base}/users", headers=bearer(granted), content=b"x" * 100_000)
        looked = client.head(f"{emulator.grant().api_base}/users", headers=bearer(granted))
        assert len(emulator._connections) == 1
        with emulator.server() as server:
            assert server.applied("POST", "/v2.01/canary/users", b"x" * 100_000) == 1
    assert (granted.status_code, served.json()) == (200, {"Call": 1, "TokenNumber": 1})
    assert (looked.status_code, looked.content, looked.headers["content-length"]) == (200, b"", "26")
    assert [arrival.route for arrival in emulator.arrivals] == [Route.TOKEN, Route.API, Route.API]


def test_a_connection_is_closed_when_the_client_asks_for_it() -> None:
    with emulated() as emulator:
        head, _, body = raw_answer(emulator).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nConnection: close" in head
        assert body.startswith(b'{"access_token":')


def test_a_fast_drip_arrives_whole() -> None:
    with emulated(failing(TokenFault.DRIP, bytes_per_second=1e6)) as emulator, httpx.Client() as client:
        assert ask(client, emulator).json()["expires_in"] == 1_200


def test_a_slow_drip_begins_with_the_head_and_takes_its_time() -> None:
    with ExitStack() as stack:
        with emulated(failing(TokenFault.DRIP, bytes_per_second=50)) as emulator:
            connection = stack.enter_context(connect(emulator))
            connection.sendall(token_request(emulator))
            received = b""
            while len(received) < 4:
                received += connection.recv(1)
        received += read_to_the_end(connection)
    assert received.startswith(b"HTTP")
    assert b"expires_in" not in received


def test_a_drip_ends_at_once_when_the_emulator_closes() -> None:
    with ExitStack() as stack:
        with emulated(failing(TokenFault.DRIP, bytes_per_second=0.001)) as emulator:
            connection = stack.enter_context(connect(emulator))
            connection.sendall(token_request(emulator))
            assert connection.recv(2) == b"H"
        assert read_to_the_end(connection) == b""


def test_a_cut_body_promises_more_than_it_brings() -> None:
    with emulated(failing(TokenFault.CUT_BODY, cut_after=5)) as emulator:
        head, _, body = raw_answer(emulator).partition(b"\r\n\r\n")
        assert body == b'{"acc'
        assert b"\r\nContent-Length: 103\r\n" in head


def test_an_endless_body_goes_on_for_as_long_as_anyone_reads() -> None:
    with emulated(failing(TokenFault.ENDLESS_BODY)) as emulator, httpx.Client() as client:
        size = 0
        with client.stream("POST", f"{emulator.base_url}/v2.01/oauth/token", content=FORM) as response:
            for piece in response.iter_raw():
                size += len(piece)
                if size > 3_000_000:
                    break
        until(lambda: not emulator._connections)


def test_a_dropped_connection_brings_no_byte() -> None:
    for fault, issued in ((TokenFault.DROPPED_BEFORE, 0), (TokenFault.DROPPED_AFTER, 1)):
        with emulated(failing(fault)) as emulator:
            assert raw_answer(emulator) == b""
            with emulator.server() as server:
                assert len(server.tokens) == issued


def test_a_hanging_connection_stays_open_until_the_client_leaves_or_the_emulator_closes() -> None:
    with ExitStack() as stack:
        with emulated(failing(TokenFault.HANG)) as emulator:
            with connect(emulator) as gone:
                gone.sendall(token_request(emulator))
                until(lambda: len(emulator.arrivals) == 1)
                assert emulator._connections
            until(lambda: not emulator._connections)
            waiting = stack.enter_context(connect(emulator))
            waiting.sendall(token_request(emulator))
            until(lambda: len(emulator.arrivals) == 2)
            waiting.sendall(b"more")
        assert read_to_the_end(waiting) == b""


def test_a_gzip_bomb_is_sent_packed() -> None:
    with emulated(failing(TokenFault.GZIP_BOMB)) as emulator:
        head, _, body = raw_answer(emulator).partition(b"\r\n\r\n")
        assert b"Content-Encoding: gzip" in head
        assert body[:2] == b"\x1f\x8b"
        assert len(body) < 60_000


def test_an_answer_that_has_no_body_by_its_status_is_sent_without_one() -> None:
    script = Script(token=TokenBehaviour(fault=TokenFault.HTML, status=204))
    with emulated(script) as emulator:
        assert raw_answer(emulator).startswith(b"HTTP/1.1 204 ")
        assert raw_answer(emulator).endswith(b"\r\n\r\n")


def test_a_latency_ends_at_once_when_the_emulator_closes() -> None:
    with ExitStack() as stack:
        with emulated(Script(token=TokenBehaviour(latency_before=1e12))) as emulator:
            connection = stack.enter_context(connect(emulator))
            connection.sendall(token_request(emulator))
            until(lambda: len(emulator.arrivals) == 1)
        assert read_to_the_end(connection) == b""


def test_one_request_that_waits_holds_no_other_one_up() -> None:
    script = Script(first_token_requests=(TokenBehaviour(latency_after=1e6),))
    with emulated(script) as emulator, connect(emulator) as slow:
        slow.sendall(token_request(emulator))
        until(lambda: len(emulator.arrivals) == 1)
        assert raw_answer(emulator).startswith(b"HTTP/1.1 200")


def test_hundreds_of_connections_are_served_at_once() -> None:
    with emulated(failing(TokenFault.NONE)) as emulator, ExitStack() as stack:
        connections = [stack.enter_context(connect(emulator)) for _ in range(250)]
        until(lambda: len(emulator._connections) == 250)
        for connection in connections:
            connection.sendall(token_request(emulator))
        answers = {read_to_the_end(connection).partition(b"\r\n\r\n")[2] for connection in connections}
        assert len(answers) == 250


# What is not a proper request.


def test_what_is_not_http_is_refused_with_400() -> None:
    with emulated() as emulator:
        assert raw_answer(emulator, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert emulator.arrivals == ()


def test_a_request_body_beyond_all_measure_is_refused_with_413() -> None:
    head = b"POST / HTTP/1.1\r\nHost: emulator\r\nContent-Length: 1048577\r\n\r\n"
    with emulated() as emulator:
        assert raw_answer(emulator, head + b"x" * 1_048_577).startswith(b"HTTP/1.1 413 ")


def test_a_client_that_waits_for_100_continue_gets_it() -> None:
    head = (
        b"POST / HTTP/1.1\r\nHost: emulator\r\nContent-Length: 1\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with emulated() as emulator, connect(emulator) as connection:
        connection.sendall(head)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"x")
        assert read_to_the_end(connection).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "sent", [b"", b"POST /v2.01/oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 29\r\n\r\ngrant"]
)
def test_a_client_that_leaves_in_the_middle_is_no_arrival(sent: bytes) -> None:
    with emulated() as emulator:
        with connect(emulator) as connection:
            connection.sendall(sent)
        until(lambda: not emulator._connections)
        assert emulator.arrivals == ()


# The object.


def test_a_script_is_enough_to_start_with() -> None:
    with Emulator(Script(lifetime=9)) as emulator, httpx.Client() as client:
        grant = emulator.grant()
        assert grant.endpoint.url == f"{emulator.base_url}/v2.01/oauth/token"
        answer = client.post(grant.endpoint.url, content=FORM, auth=(grant.client_id, grant.client_secret))
        assert answer.json()["expires_in"] == 9
        assert "date" in answer.headers
    with Emulator(client_id="me", api_key=canary.secret()) as emulator:
        assert emulator.grant().client_id == "me"


def test_the_time_of_the_script_begins_with_the_emulator() -> None:
    seconds = [1_000.0]
    script = Script(lifetime=10)
    server = AuthorizationServer("canary", canary.secret(), script=script, token_prefix=canary.TOKEN_MARK, start=50)
    with Emulator(server, clock=lambda: seconds[0]) as emulator, httpx.Client() as client:
        assert emulator.now() == 50
        seconds[0] = 1_003.0
        headers = bearer(ask(client, emulator))
        assert emulator.arrivals[0].now == 53
        seconds[0] = 1_012.5
        assert client.get(f"{emulator.grant().api_base}/x", headers=headers).status_code == 200
        seconds[0] = 1_013.0
        assert client.get(f"{emulator.grant().api_base}/x", headers=headers).status_code == 401


def test_tokens_can_be_revoked_and_scripts_changed_while_it_runs() -> None:
    with emulated() as emulator, httpx.Client() as client:
        headers = bearer(ask(client, emulator))
        assert emulator.revoke_all() == 1
        assert client.get(f"{emulator.grant().api_base}/x", headers=headers).status_code == 401
        with emulator.server() as server:
            server.next_api_calls(ApiBehaviour(fault=ApiFault.RATE_LIMITED))
            server.set_api_key(canary.secret(1))
        assert client.get(f"{emulator.grant().api_base}/x").status_code == 429
        assert emulator.grant().client_secret == canary.secret(1)


def test_it_listens_on_this_machine_only_and_nowhere_after_the_end() -> None:
    with emulated() as emulator:
        assert emulator._listener is not None
        assert emulator._listener.getsockname()[0] == "127.0.0.1"
        assert emulator.base_url.startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match="refused"):
        connect(emulator)


def test_it_is_started_once_and_may_be_closed_at_any_time() -> None:
    Emulator().close()
    with emulated() as emulator:
        with pytest.raises(RuntimeError, match="started once"):
            emulator.start()
        port = int(emulator.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            Emulator(port=port).start()
    emulator.close()
    with pytest.raises(RuntimeError, match="started once"):
        emulator.start()


def test_it_goes_on_when_a_connection_cannot_be_accepted(caplog: pytest.LogCaptureFixture) -> None:
    emulator = Emulator()

    class Exhausted(socket.socket):
        attempts = 0

        def accept(self) -> tuple[socket.socket, object]:
            self.attempts += 1
            if self.attempts == 3:
                emulator._closing.set()
            raise OSError(24, "Too many open files")

    with Exhausted() as listener:
        emulator._accept(listener)
        assert listener.attempts == 3
    assert caplog.messages[0] == "The emulator cannot accept a connection: [Errno 24] Too many open files"


def test_each_request_is_logged_without_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "evertoken.emulator")
    with emulated() as emulator:
        token = raw_answer(emulator).partition(b'token":"')[2].partition(b'"')[0]
        raw_answer(emulator, b"GET /v2.01/" + token + b"?token=" + token + b" HTTP/1.0\r\n\r\n")
    mine = [record.getMessage() for record in caplog.records if record.name == "evertoken.emulator"]
    assert mine == ["POST /v2.01/oauth/token: 200, whole", "GET (redacted): 401, whole"]
    canary.assert_clean(emulator, emulator.arrivals)


def test_without_h11_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "evertoken_transports.emulator")
    monkeypatch.setitem(sys.modules, "h11", None)
    with pytest.raises(ImportError, match=r"pip install h11"):
        importlib.import_module("evertoken_transports.emulator")
