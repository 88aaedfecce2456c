"""What ``response.raw`` of a streamed 400 or 401 gives, whose beginning was looked at, is what urllib3 gives."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
import requests
from requests.adapters import BaseAdapter, HTTPAdapter

from evertoken import LocalProtocolError, Policy
from evertoken.testing import Script
from evertoken_transports.requests import BearerAuth
from tests.kits.place import Place, opened

Raw = Any
"""What requests calls raw: urllib3's response."""

LINES = b"first\nsecond\n\nlast, without an end"
LONG = b"".join(b"line %d\n" % number for number in range(20_000))

READ: dict[str, Callable[[Raw], object]] = {
    "readline": lambda raw: [raw.readline(), raw.readline(3), raw.read()],
    "readlines": lambda raw: raw.readlines()[:5],
    "iteration": list,
    "data": lambda raw: raw.data,
    "read": lambda raw: raw.read(),
    "read, decoded": lambda raw: raw.read(decode_content=True),
    "read, bit by bit": lambda raw: [raw.read(7), raw.read(0), raw.read(100_000), raw.read(), raw.read()],
    "read, decoded bit by bit": lambda raw: [raw.read(7, decode_content=True), raw.read(decode_content=True)],
    "read1": lambda raw: b"".join(iter(lambda: raw.read1(1_000), b"")),
    "readinto": lambda raw: [raw.readinto(into := bytearray(10)), bytes(into)],
    "stream": lambda raw: b"".join(raw.stream(1_000, decode_content=True)),
    "stream, at once": lambda raw: b"".join(raw.stream(None, decode_content=True)),
    "drain": lambda raw: [raw.drain_conn(), raw.read()],
    "how it came": lambda raw: [raw.geturl(), raw.version_string, raw.retries.total, raw.tell()],
    "what it is": lambda raw: [
        raw.status,
        raw.reason,
        raw.version,
        dict(raw.headers)["Content-Length"],
        raw.readable(),
    ],
    "closed": lambda raw: [raw.closed, raw.close(), raw.closed],
}


@pytest.fixture
def place() -> Iterator[Place]:
    with opened(Script(lifetime=1_200), Policy()) as place:
        yield place


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("body", [LINES, LONG, b""], ids=["short", "long", "empty"])
@pytest.mark.parametrize("how", READ)
def test_a_streamed_refusal_reads_as_it_does_without_us(place: Place, how: str, body: bytes, coding: str) -> None:
    sent = gzip.compress(body, mtime=0) if coding == "gzip" else body
    place.answers["GET", "/users"] = place.refusal = 401, sent, {"Content-Encoding": coding}
    found = list[object]()
    with requests.Session() as session:
        session.trust_env = False
        for auth in (None, BearerAuth(place.grant, coordinator=place.coordinator, replay=False)):
            with session.get(f"{place.api}/users", auth=auth, stream=True, timeout=20) as response:
                assert response.status_code == 401
                found.append(READ[how](response.raw))
    assert found[0] == found[1]


@pytest.mark.parametrize("how", ["content", "close"])
def test_a_connection_whose_refusal_was_read_or_closed_is_given_back(place: Place, how: str) -> None:
    place.answers["GET", "/users"] = 401, LONG
    adapter: Any = HTTPAdapter(pool_maxsize=1)
    with requests.Session() as session:
        session.trust_env = False
        session.auth = BearerAuth(place.grant, coordinator=place.coordinator, replay=False)
        session.mount("http://", adapter)
        response = session.get(f"{place.api}/users", stream=True, timeout=20)
        [key] = adapter.poolmanager.pools.keys()
        pool = adapter.poolmanager.pools[key].pool
        assert pool.qsize() == 0
        assert how == "close" or response.content == LONG
        response.close()
        assert pool.qsize() == 1


def test_a_refusal_that_cannot_be_reported_is_closed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.answers["GET", "/users"] = 401, LONG
    adapter: Any = HTTPAdapter(pool_maxsize=1)
    auth = BearerAuth(place.grant, coordinator=place.coordinator)

    def closed(*_: object, **__: object) -> NoReturn:
        raise LocalProtocolError("this TokenSource is closed")

    monkeypatch.setattr(auth.source, "answered", closed)
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", adapter)
        with pytest.raises(LocalProtocolError) as caught:
            session.get(f"{place.api}/users", auth=auth, stream=True, timeout=20)
        [key] = adapter.poolmanager.pools.keys()
        assert adapter.poolmanager.pools[key].pool.qsize() == 1
        assert caught.traceback  # Which has kept the answer alive until now.


def test_cookies_of_a_streamed_refusal_are_kept(place: Place) -> None:
    place.answers["GET", "/users"] = 401, LINES, {"Set-Cookie": "a=b"}
    with requests.Session() as session:
        session.trust_env = False
        session.auth = BearerAuth(place.grant, coordinator=place.coordinator, replay=False)
        session.get(f"{place.api}/users", stream=True, timeout=20).close()
        assert dict(session.cookies) == {"a": "b"}


class OfMemory(BaseAdapter):
    """Whose answers are no responses of urllib3."""

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        response = requests.Response()
        response.status_code, response.raw, response.request = 401, io.BytesIO(LINES), request
        response.url = request.url or ""
        return response

    def close(self) -> None:
        """Nothing is open."""


def test_what_another_adapter_has_for_raw_is_left_to_the_caller(place: Place) -> None:
    with requests.Session() as session:
        session.auth = BearerAuth(place.grant, coordinator=place.coordinator, replay=False)
        session.mount("http://", OfMemory())
        assert session.get(f"{place.api}/users", stream=True).content == LINES
