"""A look into Redis without a client finds what a client finds, or leaves it to one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress

import pytest

from evertoken_transports.stores import RedisStore, _redis_look
from evertoken_transports.stores._redis_look import found_in, look
from tests.kits.worlds import LIMIT
from tests.real.stores.kits import SERVERS, Server, server

KEY = "a" * 64
VALUE = bytes(range(256)) * 300  # More than one piece.


@pytest.fixture(scope="module", params=SERVERS)
def redis(request: pytest.FixtureRequest) -> Iterator[Server]:
    with server(str(request.param)) as made:
        yield made


def test_it_finds_what_a_client_finds(redis: Server) -> None:
    for url in (redis.url, redis.url.removesuffix("/0"), redis.url.replace("/0", "/3")):
        store = RedisStore(url)
        assert getattr(look(url, KEY, timeout=LIMIT), "value", 0) is None
        store.swap(KEY, None, VALUE, lasts=60.0, timeout=LIMIT)
        found, known = look(url, KEY, timeout=LIMIT), store.load(KEY, timeout=LIMIT)
        assert found is not None
        assert found.value == known.value == VALUE
        assert known.now - LIMIT < found.now <= known.now
        store.swap(KEY, VALUE, None, lasts=60.0, timeout=LIMIT)
        store.close()


def test_it_says_who_it_is(redis: Server) -> None:
    redis.ask("ACL", "SETUSER", "looker", "on", ">p@ss:w/rd", "~evertoken:*", "+eval", "+get", "+time")
    address = redis.url.removeprefix("redis://")
    assert look(f"redis://looker:p%40ss%3Aw%2Frd@{address}", KEY, timeout=LIMIT) is not None
    assert look(f"redis://looker:wrong@{address}", KEY, timeout=LIMIT) is None
    assert look(f"redis://looker@{address}", KEY, timeout=LIMIT) is None


@pytest.mark.parametrize("more", ["?socket_timeout=1", "x", "#x"])
def test_a_url_that_is_not_plain_is_left_to_a_client(redis: Server, more: str) -> None:
    assert look(redis.url + more, KEY, timeout=LIMIT) is None
    assert look(redis.url.replace("redis", "unix"), KEY, timeout=LIMIT) is None


def test_arrays_within_arrays_are_left_to_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    def nested(commands: list[tuple[str, ...]], *_: object, **__: object) -> list[object]:
        return _redis_look._read(b"*1\r\n" * 50_000, len(commands))

    monkeypatch.setattr(_redis_look, "_answers", nested)
    assert look("redis://", KEY, timeout=LIMIT) is None


def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_said(redis: Server) -> None:
    redis.ask("CLIENT", "PAUSE", 60_000)
    began = time.monotonic()
    assert look(redis.url, KEY, timeout=0.2) is None
    assert time.monotonic() - began < LIMIT
    redis.restart()


@contextmanager
def saying(*pieces: bytes) -> Generator[str]:
    """The URL of a server that answers ``pieces``, one after the other, and hangs up."""

    def serve() -> None:
        line, _ = listener.accept()
        with line, suppress(ConnectionError):  # Of what goes on and on, nobody reads the end.
            line.recv(65_536)
            for piece in pieces:
                line.sendall(piece)
            line.shutdown(socket.SHUT_WR)
            line.recv(65_536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(LIMIT)


ANSWER = b"*3\r\n$5\r\na\r\nb!\r\n$2\r\n17\r\n$6\r\n500000\r\n"


def test_an_answer_may_come_in_any_pieces() -> None:
    with saying(*[ANSWER[at : at + 1] for at in range(len(ANSWER))]) as url:
        found = look(url, KEY, timeout=LIMIT)
    assert found is not None
    assert (found.value, found.now) == (b"a\r\nb!", 17.5)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        ANSWER[:-1],
        b"-NOAUTH Authentication required.\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*1\r\n$1\r\na\r\n",
        b"*3\r\n:1\r\n:2\r\n:3\r\n",
        b"*3\r\n$-1\r\n$1\r\nx\r\n$1\r\n0\r\n",
        b"*3\r\n$-1\r\n$3\r\ninf\r\n$1\r\n0\r\n",
        b"*3\r\n$-1\r\n$1\r\n1\r\n-ERR\r\n",
        b"*99\r\n",
        b"*x\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$9999999\r\n" + b"x" * 2_200_000,
    ],
    ids=lambda answer: repr(answer[:24]),
)
def test_an_answer_of_another_kind_is_left_to_a_client(answer: bytes) -> None:
    with saying(answer) as url:
        assert look(url, KEY, timeout=LIMIT) is None


def test_tls_is_verified() -> None:
    with saying(ANSWER) as url:
        assert look(url.replace("redis:", "rediss:"), KEY, timeout=LIMIT) is None


def test_what_a_script_returned_ends_with_the_value_and_the_time() -> None:
    assert found_in([1, b"x", b"2", b"250000"]).now == 2.25
    with pytest.raises(ValueError, match="another kind"):
        found_in(["x", b"2", b"0"])
