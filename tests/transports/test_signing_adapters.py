"""The adapters for requests and aiohttp keep the rules of origin and replay that BearerAuth of httpx keeps."""

from __future__ import annotations

import asyncio
import copy
import gzip
import io
import json
import logging
import pickle
import subprocess
import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import aiohttp
import pytest
import requests
from anyio.from_thread import start_blocking_portal

from evertoken import BlockKind, Policy, RequestState
from evertoken.testing import Script, TokenBehaviour, TokenFault
from evertoken_transports import RequestNotSigned
from evertoken_transports.aiohttp import BearerMiddleware
from evertoken_transports.requests import BearerAuth
from tests.kits.place import Place, opened
from tests.kits.worlds import run_in_threads

Ours = Any
"""What the two libraries take: they have no types in common."""

Auth = BearerAuth | BearerMiddleware
BARE: tuple[int, bytes] = (401, b"")
"""A refusal that says nothing of the token."""


class Answer(NamedTuple):
    status: int
    body: bytes
    history: tuple[int, ...] = ()


Send = Callable[..., Answer]
"""``send(method, url, body=None, headers={})``"""


@pytest.fixture
def place() -> Iterator[Place]:
    with opened(Script(lifetime=1_200), Policy()) as place:
        yield place


@contextmanager
def of_requests(auth: Ours) -> Generator[Send]:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = auth

        def send(method: str, url: str, body: Ours = None, *, stream: bool = False, **options: Ours) -> Answer:
            with session.request(method, url, data=body, stream=stream, timeout=20, **options) as response:
                content = b"".join(response.iter_content(1_000)) if stream else response.content
                return Answer(response.status_code, content, tuple(old.status_code for old in response.history))

        yield send


@contextmanager
def of_aiohttp(auth: Ours) -> Generator[Send]:
    @asynccontextmanager
    async def session() -> AsyncGenerator[aiohttp.ClientSession]:
        async with aiohttp.ClientSession(middlewares=(auth,)) as session:
            yield session

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(session()) as client:

        async def call(method: str, url: str, body: Ours = None, *, stream: bool = False, **options: Ours) -> Answer:
            async with client.request(method, url, data=body, **options) as response:
                if stream:
                    content = b"".join([chunk async for chunk in response.content.iter_chunked(1_000)])
                else:
                    content = await response.read()
                return Answer(response.status, content, tuple(old.status for old in response.history))

        yield lambda *arguments, **options: portal.call(lambda: call(*arguments, **options))


class Kind(NamedTuple):
    auth: Callable[..., Auth]
    client: Callable[[Auth], AbstractContextManager[Send]]


KINDS = {"requests": Kind(BearerAuth, of_requests), "aiohttp": Kind(BearerMiddleware, of_aiohttp)}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def auth_for(kind: Kind, place: Place, **options: Ours) -> Auth:
    return kind.auth(place.grant, coordinator=place.coordinator, **options)


# What is signed
# --------------


def test_a_call_to_the_api_carries_our_token_in_place_of_any_other(kind: Kind, place: Place) -> None:
    auth = auth_for(kind, place)
    with kind.client(auth) as send:
        for headers in ({}, {"Authorization": "Bearer another"}, {"authorization": "Basic eDp5"}):
            assert send("GET", f"{auth.api_base}/users", headers=headers).status == 200
    assert len(set(place.carried)) == place.token_requests == 1


def test_a_call_to_elsewhere_goes_out_unsigned_and_is_told_once_as_a_warning(
    kind: Kind, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[object] = []
    with opened(Script(), Policy()) as elsewhere, caplog.at_level(logging.DEBUG, "evertoken"):
        with kind.client(auth_for(kind, place, on_event=events.append)) as send:
            assert [send("GET", f"{elsewhere.api}/users").status for _ in range(2)] == [401, 401]
        assert elsewhere.carried == [None, None]
        assert events == [RequestNotSigned(elsewhere.api, place.api)] * 2
        levels = [record.levelname for record in caplog.records if "was not signed" in record.getMessage()]
        assert levels == ["WARNING", "DEBUG"]
    assert place.token_requests == 0


def test_further_origins_are_signed_too(kind: Kind, place: Place) -> None:
    with opened(Script(), Policy()) as elsewhere:
        with kind.client(auth_for(kind, place, origins=(f"{elsewhere.api}/",), replay=False)) as send:
            send("GET", f"{elsewhere.api}/users")
        assert [value and value.split()[0] for value in elsewhere.carried] == ["Bearer"]


def test_a_redirect_takes_the_token_along_within_the_origin_and_nowhere_else(kind: Kind, place: Place) -> None:
    with opened(Script(), Policy()) as elsewhere, kind.client(auth_for(kind, place)) as send:
        place.answers["GET", "/old"] = 307, b"", {"Location": "/users"}
        place.answers["GET", "/away"] = 307, b"", {"Location": f"{elsewhere.api}/users"}
        assert send("GET", f"{place.api}/old") == Answer(200, b"{}", (307,))
        assert send("GET", f"{place.api}/away").status == 401
        assert elsewhere.carried == [None]
    assert None not in place.carried


def test_what_a_redirect_leads_to_is_judged_and_repeated(kind: Kind, place: Place) -> None:
    def revoked(_: bytes) -> tuple[int, bytes, dict[str, str]]:
        # The token is gone between the two answers of one call.
        place.emulator._model.revoke_all(place.emulator.now())
        return 307, b"", {"Location": "/users"}

    place.answers["GET", "/old"] = revoked
    with kind.client(auth_for(kind, place)) as send:
        assert send("GET", f"{place.api}/old").status == 200
    assert [status for *_, status in place.calls] == [307, 401, 200]


def test_where_a_repeated_call_is_redirected_the_new_token_goes_along(kind: Kind, place: Place) -> None:
    place.answers["GET", "/old"] = 307, b"", {"Location": "/users"}
    with kind.client(auth_for(kind, place)) as send:
        assert send("GET", f"{place.api}/users").status == 200
        place.emulator.revoke_all()
        assert send("GET", f"{place.api}/old").status == 200
    assert place.token_requests == 2


# What a rejected token leads to
# ------------------------------


def after_a_revocation(kind: Kind, place: Place, method: str, body: Ours = None, **options: Ours) -> Answer:
    with kind.client(auth_for(kind, place, **options)) as send:
        assert send("GET", f"{place.api}/users").status == 200
        place.clock.now += 600  # Of a token that has just been issued nobody believes that it is bad, without a word.
        place.emulator.revoke_all()
        return send(method, f"{place.api}/users", body)


@pytest.mark.parametrize(
    ("method", "body", "sent"),
    [
        ("GET", None, b""),
        ("POST", b"bytes", b"bytes"),
        ("POST", "text", b"text"),
        ("PUT", {"a": "form"}, b"a=form"),
        ("DELETE", None, b""),
    ],
    ids=["GET", "bytes", "text", "a form", "DELETE"],
)
def test_a_call_whose_token_was_rejected_is_repeated_once_with_another(
    kind: Kind, place: Place, method: str, body: Ours, sent: bytes
) -> None:
    bodies: list[bytes] = []

    def served(content: bytes) -> tuple[int, bytes]:
        bodies.append(content)
        return 200, b"{}"

    place.answers[method, "/users"] = served
    assert after_a_revocation(kind, place, method, body).status == 200
    assert [status for *_, status in place.calls] == [200, 401, 200]
    assert len(set(place.carried)) == place.token_requests == 2
    assert (
        bodies[-1] == {None: b"", "text": b"text", "bytes": b"bytes"}.get(str(body) if body else None, b"a=form")
        or body
    )


@pytest.mark.parametrize(("method", "statuses"), [("GET", [200, 401, 200]), ("POST", [200, 401])])
def test_without_a_word_about_the_token_only_a_safe_method_is_repeated(
    kind: Kind, place: Place, method: str, statuses: list[int]
) -> None:
    place.refusal = BARE
    after_a_revocation(kind, place, method)
    assert [status for *_, status in place.calls] == statuses


def test_mangopays_body_names_the_token_as_the_cause(kind: Kind, place: Place) -> None:
    place.refusal = 401, json.dumps({"Message": "no", "Type": "invalid_credentials", "Date": 1}).encode()
    assert after_a_revocation(kind, place, "POST", b"x").status == 200


def test_a_body_that_is_used_up_is_not_sent_again(kind: Kind, place: Place) -> None:
    assert after_a_revocation(kind, place, "POST", io.BytesIO(b"a file")).status == 401
    assert [status for *_, status in place.calls] == [200, 401]


def test_without_replay_the_caller_gets_the_401_and_the_next_call_another_token(kind: Kind, place: Place) -> None:
    with kind.client(auth_for(kind, place, replay=False)) as send:
        send("GET", f"{place.api}/users")
        place.emulator.revoke_all()
        assert [send("GET", f"{place.api}/users").status for _ in range(2)] == [401, 200]


def test_the_second_refusal_is_the_callers_and_its_body_too(kind: Kind, place: Place) -> None:
    place.answers["GET", "/users"] = place.refusal
    with kind.client(auth_for(kind, place)) as send:
        answer = send("GET", f"{place.api}/users")
    assert (answer.status, answer.body) == place.refusal[:2]
    assert len(place.calls) == place.token_requests == 2


def test_where_no_other_token_can_be_had_the_caller_gets_the_401(kind: Kind, place: Place) -> None:
    with kind.client(auth_for(kind, place)) as send:
        send("GET", f"{place.api}/users")
        place.emulator.revoke_all()
        with place.emulator.server() as server:
            server.next_token_requests(TokenBehaviour(fault=TokenFault.LOCKED))
        answer = send("GET", f"{place.api}/users")
    assert (answer.status, answer.body) == place.refusal[:2]


def test_a_lock_that_the_api_tells_of_closes_the_token_endpoint(kind: Kind, place: Place) -> None:
    lock = {"error": "unauthorized_client", "error_description": "This account has been temporarily locked"}
    place.answers["GET", "/users"] = 400, json.dumps(lock).encode()
    auth = auth_for(kind, place)
    with kind.client(auth) as send:
        answer = send("GET", f"{place.api}/users")
    assert answer.body == json.dumps(lock).encode()
    assert place.coordinator.machine.request_state(place.clock()) is RequestState.BLOCKED
    assert BlockKind.LOCKED.name.lower() in str(auth.source.explain()).lower()


# The body of an answer
# ---------------------


@pytest.mark.parametrize("size", [10, 65_536, 200_000])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_what_is_read_as_it_comes_is_whole_though_its_beginning_was_looked_at(
    kind: Kind, place: Place, size: int, coding: str
) -> None:
    body = json.dumps({"Type": "invalid_credentials", "more": "x" * size}).encode()
    sent = body if coding == "identity" else gzip.compress(body)
    place.refusal = 401, sent, {"Content-Encoding": coding}
    with kind.client(auth_for(kind, place, replay=False)) as send:
        send("GET", f"{place.api}/users")
        place.emulator.revoke_all()
        answer = send("POST", f"{place.api}/users", b"x", stream=True)
        assert (answer.status, answer.body) == (401, body)
        if len(body) < 65_536:  # What was looked at was understood.
            assert send("GET", f"{place.api}/users").status == 200


def test_a_body_that_breaks_off_is_found_out_by_the_one_who_reads(kind: Kind, place: Place) -> None:
    place.refusal = 401, gzip.compress(b"x" * 1_000)[:-9] + b"not gzip", {"Content-Encoding": "gzip"}
    with kind.client(auth_for(kind, place, replay=False)) as send:
        send("GET", f"{place.api}/users")
        place.emulator.revoke_all()
        with pytest.raises((requests.exceptions.ContentDecodingError, aiohttp.ClientPayloadError)):
            send("GET", f"{place.api}/users", stream=True)
    assert [status for *_, status in place.calls] == [200, 401]


class Stuck:
    """An answer of aiohttp whose body never comes."""

    status, method, headers = 401, "GET", {"WWW-Authenticate": 'Bearer error="invalid_token"'}

    def __init__(self, error: BaseException) -> None:
        self.content, self.error, self.is_closed = self, error, False

    def at_eof(self) -> bool:
        """Never."""
        return False

    async def read(self, _: int) -> bytes:
        """What befalls the caller while it waits."""
        raise self.error

    def exception(self) -> None:
        """Nothing is wrong with the body itself."""

    def close(self) -> None:
        """Told by whoever gives the answer up."""
        self.is_closed = True


@pytest.mark.parametrize("error", [TimeoutError(), asyncio.CancelledError()], ids=["time out", "cancellation"])
def test_where_the_time_for_a_call_of_aiohttp_ends_in_the_body_nothing_is_sent_again(
    place: Place, error: BaseException
) -> None:
    answer, sent = Stuck(error), list[object]()

    async def handler(request: Ours) -> Ours:
        sent.append(request)
        return answer

    async def main() -> None:
        auth = BearerMiddleware(place.grant, coordinator=place.coordinator)
        request: Ours = SimpleNamespace(url=f"{place.api}/users", headers={}, body=b"")
        with pytest.raises(type(error)):
            await auth(request, handler)

    asyncio.run(main())
    assert len(sent) == 1
    assert answer.is_closed


def test_what_is_streamed_is_repeated_too(kind: Kind, place: Place) -> None:
    place.answers["POST", "/users"] = 200, b"y" * 100_000
    with kind.client(auth_for(kind, place)) as send:
        send("GET", f"{place.api}/users")
        place.emulator.revoke_all()
        assert send("POST", f"{place.api}/users", b"x", stream=True).body == b"y" * 100_000


# The object
# ----------


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"origins": "https://a.example"}, "origins"),
        ({"origins": ("ftp://a.example",)}, "origins"),
        ({"keys": ("k",)}, "keys"),
    ],
)
def test_a_wrong_argument_is_named(kind: Kind, place: Place, wrong: dict[str, Ours], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        kind.auth(place.grant, **wrong)


@pytest.mark.parametrize("wrong", [{"keys": ("pass-word",)}, {"origins": ("https://user:pass-word@a.example",)}])
def test_a_password_in_a_wrong_argument_is_in_no_local_variable(
    kind: Kind, place: Place, wrong: dict[str, Ours]
) -> None:
    with pytest.raises(ValueError, match=r"keys|origins") as caught:
        kind.auth(place.grant, **wrong)
    frames = [frame.f_locals for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert len(frames) > 1
    assert "pass-word" not in repr(frames[1:])


def test_what_it_is_called_for_is_said_in_its_repr_and_no_token(kind: Kind, place: Place) -> None:
    auth = auth_for(kind, place)
    with kind.client(auth) as send:
        send("GET", f"{place.api}/users")
    assert repr(auth).startswith(f"<{type(auth).__module__}.{type(auth).__name__} by <")
    assert (place.carried[0] or "").split()[1] not in repr(auth)


def test_a_copy_is_the_object_itself_and_a_pickle_is_refused(kind: Kind, place: Place) -> None:
    auth = auth_for(kind, place)
    assert copy.copy(auth) is copy.deepcopy(auth) is auth
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(auth)


def test_many_threads_share_one_token_of_requests(place: Place) -> None:
    def call(_: int) -> int:
        auth = BearerAuth(place.grant, coordinator=place.coordinator)
        return requests.get(f"{place.api}/users", auth=auth, timeout=20).status_code

    assert run_in_threads(8, call)() == [200] * 8
    assert place.token_requests == 1


def test_a_response_of_requests_can_be_pickled_and_its_hooks_show_no_token(place: Place) -> None:
    auth = BearerAuth(place.grant, coordinator=place.coordinator)
    request = requests.Request("GET", f"{place.api}/users", auth=auth).prepare()
    shown = repr(request.hooks)
    with requests.Session() as session:
        response = session.send(request, timeout=20)
    assert auth.source.authorization().removeprefix("Bearer ") not in shown
    assert pickle.loads(pickle.dumps(response)).status_code == 200


def test_a_redirect_that_requests_did_not_follow_can_be_pickled_and_so_can_its_error(place: Place) -> None:
    place.answers["GET", "/users"] = 307, b"", {"Location": "/users"}
    auth = BearerAuth(place.grant, coordinator=place.coordinator)
    response = requests.get(f"{place.api}/users", auth=auth, timeout=20, allow_redirects=False)
    kept = pickle.loads(pickle.dumps(response))
    assert kept.status_code == 307
    assert all(hook(kept) is None for hook in kept.request.hooks["response"])
    with requests.Session() as session:
        session.max_redirects = 1
        with pytest.raises(requests.TooManyRedirects) as caught:
            session.get(f"{place.api}/users", auth=auth, timeout=20)
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), requests.TooManyRedirects)


def test_a_request_of_requests_that_is_prepared_once_is_judged_whenever_it_is_sent(place: Place) -> None:
    auth = BearerAuth(place.grant, coordinator=place.coordinator)
    with requests.Session() as session:
        prepared = session.prepare_request(requests.Request("POST", f"{place.api}/users", data=b"x", auth=auth))
        assert session.send(prepared, timeout=20).status_code == 200
        place.emulator.revoke_all()
        assert session.send(prepared, timeout=20).status_code == 200
    assert [status for *_, status in place.calls] == [200, 401, 200]


def test_the_first_answer_to_a_repeated_call_of_requests_is_in_its_history(place: Place) -> None:
    assert after_a_revocation(KINDS["requests"], place, "GET").history == (401,)


WITHOUT = """
import sys
import traceback
sys.modules[{library!r}] = None
try:
    import evertoken_transports.{library}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("library", KINDS)
def test_without_its_library_an_adapter_says_what_to_install(library: str) -> None:
    program = WITHOUT.format(library=library)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert f"pip install {library}" in run.stdout


def test_no_adapter_is_imported_unless_asked_for() -> None:
    program = "import sys, evertoken_transports.threads; print([name for name in sys.modules if name in {libraries}])"
    command = [sys.executable, "-c", program.format(libraries=list(KINDS))]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == "[]\n"
