"""The recipes: each runs as written, with the framework where that is installed, and asks as often as it says."""

from __future__ import annotations

import asyncio
import http.client
import ssl
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import django
import httpx
import pytest
import trustme
from django.conf import settings
from django.test import RequestFactory
from mangopay.exceptions import APIError
from mangopay.resources import User

from evertoken import ClientCredentials, CredentialsRefused, TokenUnavailable
from evertoken.testing import Route, TokenFault
from evertoken_transports.emulator import Emulator
from evertoken_transports.requests import BearerAuth
from evertoken_transports.testing import MangopayServer
from tests.kits import standins
from tests.kits.pages import blocks, run, run_cells


@pytest.fixture(autouse=True)
def in_this_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No recipe writes to the place where this user's programs keep things."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_httpx(mangopay: MangopayServer, capsys: pytest.CaptureFixture[str]) -> None:
    page = run("howto/httpx")
    assert mangopay.token_requests == 1
    assert capsys.readouterr().out == ""
    assert asyncio.run(page.main()).status_code == 200


def test_any_other_library(mangopay: MangopayServer) -> None:
    page = run("howto/sources")
    assert mangopay.token_requests == 1
    assert [type(it).__name__ for it in page.arrived] == ["Token"]
    assert page.token.authorization == page.header

    carried: list[str] = []

    def send(_method: str, _path: str, authorization: str, _body: bytes | None) -> object:
        carried.append(authorization)
        return page.Answer(200 if mangopay.is_valid(authorization) else 401, {}, b"")

    page.call.__globals__["send"] = send
    assert page.call("GET", "/users").status == 200
    mangopay.advance(100)
    mangopay.revoke_all()
    assert page.call("GET", "/users").status == 200
    assert len(set(carried)) == 2
    assert mangopay.token_requests == 2


@pytest.mark.usefixtures("mangopay")
def test_the_call_of_any_other_library_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    page = run("howto/sources")
    monkeypatch.setattr(http.client, "HTTPSConnection", http.client.HTTPConnection)
    with Emulator() as emulator:
        page.send.__globals__["API"] = urlsplit(emulator.grant().api_base or "")
        answer = page.send("GET", "/users", "Bearer of-another-server", None)
    assert answer.status == 401
    assert answer.body


def test_an_sdk(mangopay: MangopayServer) -> None:
    page = run("howto/sdk")
    answers: list[tuple[int, dict[str, str], bytes]] = []
    carried: list[str] = []

    def send(_method: str, _url: str, headers: Mapping[str, str], _body: bytes | None) -> object:
        carried.append(headers["Authorization"])
        return page.Answer(*(answers.pop() if answers else (200, {}, b"")))

    with page.Client(mangopay.grant(), send) as client:
        assert client.call("GET", "/users").status == 200
        mangopay.advance(61)
        answers[:] = [(401, {}, b"")]
        assert client.call("POST", "/payins").status == 401
        assert client.call("GET", "/users").status == 200
        mangopay.advance(61)
        answers[:] = [(401, {}, b"")]
        assert client.call("POST", "/payins", idempotency_key="once").status == 200
        assert (len(carried), len(set(carried))) == (5, 3)
        answers[:] = [(401, {"WWW-Authenticate": "PendingUserAction"}, b"")]
        assert client.needs_a_person(client.call("GET", "/wallets"))
        mangopay.advance(3_600)
        mangopay.next_token_requests(TokenFault.LOCKED)
        with pytest.raises(page.NotAuthorized) as caught:
            client.call("GET", "/users")
        assert caught.value.is_permanent
        assert client.health().status_code == 503
    with pytest.raises(page.ClientClosed):
        client.call("GET", "/users")
    assert mangopay.token_requests == 4


def test_the_storage_of_mangopays_sdk_hears_of_a_revocation() -> None:
    (source,) = [source for _, source in blocks("embedders") if "request_finished" in source]
    with Emulator(client_id="my-client") as emulator:
        auth = BearerAuth(emulator.grant())
        page: dict[str, Any] = {"auth": auth}
        exec(compile(source, "docs/embedders.md", "exec"), page)
        sdk = page["stored"]
        sdk.api_url = sdk.api_sandbox_url = f"{emulator.base_url}/v2.01/"
        User.all(handler=sdk)
        emulator.revoke_all()
        with pytest.raises(APIError):
            User.all(handler=sdk)
        User.all(handler=sdk)
        sdk._session.close()
        assert sum(arrival.route is Route.TOKEN for arrival in emulator.arrivals) == 2


def test_fastapi(mangopay: MangopayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    standins.install(monkeypatch)
    page = run("howto/fastapi")
    assert {answer.status_code for answer in page.app.answers("/users", 20)} == {200}
    assert mangopay.token_requests == 1
    mangopay.advance(3_600)
    mangopay.next_token_requests(TokenFault.LOCKED)
    refused = page.app.answers("/users", 3)
    assert [answer.status_code for answer in refused] == [503] * 3
    assert all(900 <= int(answer.headers["Retry-After"]) <= 930 for answer in refused)
    (probe,) = page.app.answers("/ready", 1)
    assert probe.status_code == 503


def test_the_test_of_fastapi(mangopay: MangopayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    standins.install(monkeypatch)
    run("howto/fastapi").test_users(mangopay)


def test_flask(mangopay: MangopayServer) -> None:
    web = run("howto/flask").app.test_client()
    assert {web.get("/users").status_code for _ in range(5)} == {200}
    assert mangopay.token_requests == 1
    mangopay.advance(3_600)
    mangopay.next_token_requests(TokenFault.LOCKED)
    answer = web.get("/users")
    assert answer.status_code == 503
    assert 900 <= int(answer.headers["Retry-After"]) <= 930


@pytest.fixture
def project() -> None:
    """A project of Django, as small as can be."""
    if not settings.configured:
        settings.configure(DEFAULT_CHARSET="utf-8")
        django.setup()


@pytest.mark.usefixtures("project")
def test_the_test_of_django(mangopay: MangopayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    page = run("howto/django")
    package, views = ModuleType("payments"), ModuleType("payments.views")
    vars(views)["client"] = page.client
    vars(package)["views"] = views

    def client() -> object:
        return views.client()

    page.users.__globals__["client"] = client
    monkeypatch.setitem(sys.modules, "payments", package)
    monkeypatch.setitem(sys.modules, "payments.views", views)
    page.test_users(mangopay, monkeypatch)


@pytest.mark.usefixtures("project")
def test_django(mangopay: MangopayServer) -> None:
    page, request = run("howto/django"), RequestFactory().get("/users")
    view = page.NoToken(page.users)
    assert view(request).status_code == 200
    assert page.ready(request).status_code == 200
    assert asyncio.run(page.users_async(request)).status_code == 200
    assert mangopay.token_requests == 1
    mangopay.advance(3_600)
    mangopay.next_token_requests(TokenFault.LOCKED)
    with pytest.raises(TokenUnavailable) as caught:
        page.users(request)
    answer = view.process_exception(request, caught.value)
    assert answer.status_code == 503
    assert 900 <= int(answer.headers["Retry-After"]) <= 930
    assert view.process_exception(request, ValueError("another matter")) is None


def test_celery(mangopay: MangopayServer, monkeypatch: pytest.MonkeyPatch) -> None:
    standins.install(monkeypatch)
    page = run("howto/celery")

    def wallet(_: httpx.Response) -> dict[str, str]:
        return {"Id": "wallet_1"}

    monkeypatch.setattr(httpx.Response, "json", wallet)
    assert page.pay_out("wallet_1") == "wallet_1"
    assert mangopay.token_requests == 1
    mangopay.advance(3_600)
    mangopay.next_token_requests(TokenFault.RATE_LIMITED_RETRY_AFTER)
    with pytest.raises(standins.Retry) as caught:
        page.pay_out("wallet_1")
    assert caught.value.when > 29
    mangopay.advance(600)
    mangopay.next_token_requests(TokenFault.INVALID_CLIENT)
    with pytest.raises(CredentialsRefused):
        page.pay_out("wallet_1")


def test_gunicorn_uvicorn_and_what_is_warm(mangopay: MangopayServer) -> None:
    page = run("howto/servers")
    told: list[object] = []

    def start_response(status: str, _headers: list[tuple[str, str]]) -> None:
        told.append(status)

    assert page.application({}, start_response)
    assert told == ["200 OK"]

    async def send(message: object) -> None:
        told.append(message)

    asyncio.run(page.asgi({"type": "http"}, None, send))
    assert len(told) == 3
    assert page.source.authorization_nowait() is not None
    assert mangopay.token_requests == 1


def test_lambda(mangopay: MangopayServer) -> None:
    page = run("howto/lambda")
    assert [page.handler({}, None)["statusCode"] for _ in range(3)] == [200] * 3
    assert mangopay.token_requests == 1
    mangopay.advance(7_200)  # Frozen.
    assert page.handler({}, None)["statusCode"] == 200
    assert mangopay.token_requests == 2


def test_a_job_of_cron(mangopay: MangopayServer) -> None:
    page = run("howto/cron")
    assert page.job() == 200
    assert page.job() == 200
    assert mangopay.token_requests == 1


def test_a_notebook(mangopay: MangopayServer) -> None:
    page = asyncio.run(run_cells("howto/notebooks"))
    assert page.users.status_code == 200
    assert mangopay.token_requests == 1
    assert "your-api-key" not in repr(page.auth)


def test_mtls_and_its_renewal(mangopay: MangopayServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    monkeypatch.setattr(ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))  # Not shared.

    def put_in_place(days: int) -> None:
        until = datetime.now(UTC) + timedelta(days=days)
        made = authority.issue_cert("your-client-id.prod.mangopay.com", not_after=until)
        (tmp_path / "mangopay.crt").write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        (tmp_path / "mangopay.key").write_bytes(made.private_key_pem.bytes())

    def shown() -> str:
        """When the certificate runs out that a client with the page's context shows to a server."""
        server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("api-mtls.mangopay.com").configure_cert(server_side)
        authority.configure_trust(server_side)
        server_side.verify_mode = ssl.CERT_REQUIRED
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = page.context.wrap_bio(to_client, to_server, server_hostname="api-mtls.mangopay.com")
        server = server_side.wrap_bio(to_server, to_client, server_side=True)
        for side in (client, server, client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
        return str((server.getpeercert() or {})["notAfter"])

    put_in_place(days=9)
    page = run("howto/mtls")
    authority.configure_trust(page.context)
    first = shown()
    assert 8 < page.days_left() < 9
    put_in_place(days=365)
    assert shown() == first
    page.renew()
    assert shown() != first
    assert 364 < page.days_left() < 365
    assert page.client.get("/users").status_code == 200
    assert page.auth.api_base.startswith("https://api-mtls.mangopay.com/")
    assert mangopay.token_requests == 1


def test_the_rotation_of_a_key(mangopay: MangopayServer) -> None:
    page = run("howto/rotation")
    assert page.client.get("/users").status_code == 200
    page.rotate("another-key")
    mangopay.set_api_key("another-key")
    mangopay.advance(3_600)
    assert page.client.get("/users").status_code == 200
    assert mangopay.token_requests == 2


def test_a_key_that_is_dead_already_is_refused_once(mangopay: MangopayServer) -> None:
    page = run("howto/rotation")
    mangopay.set_api_key("another-key")
    for _ in range(3):
        with pytest.raises(CredentialsRefused):
            page.client.get("/users")
    page.rotate("another-key")
    assert page.client.get("/users").status_code == 200
    assert mangopay.token_requests == 2


def test_other_providers(mangopay: MangopayServer) -> None:
    page = run("howto/providers")
    sent = dict(page.keyed.message().headers)
    assert sent["X-Api-Key"] == "your-secret"
    assert b"scope=payments%3Aread+payments%3Awrite" in page.grant.message().body
    secret = "50% + more"
    spelt = {
        dict(with_(page, way, secret).message().headers).get("Authorization")
        for way in ("as_the_rfc_says", "as_they_stand")
    }
    assert len(spelt) == 2
    assert None not in spelt
    assert "Authorization" not in dict(with_(page, "in_the_form", secret).message().headers)
    assert mangopay.token_requests == 0


def with_(page: SimpleNamespace, endpoint: str, secret: str) -> ClientCredentials:
    """A grant at one of the page's endpoints."""
    return ClientCredentials(getattr(page, endpoint), "your-client-id", secret)
