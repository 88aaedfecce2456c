"""docs/credentials.md: what is shown there runs, and picks up what is replaced where it lives."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from evertoken import Signing, TokenMachine, TokenUnavailable
from evertoken_transports.testing import MangopayServer
from tests.kits.pages import run
from tests.site.conftest import API_KEY

NEW_KEY = "another-api-key"


class Cloud:
    """Secrets Manager and Vault: one secret, and how often it was asked for. Nothing more is claimed of them."""

    def __init__(self) -> None:
        self.secret, self.asked, self.is_forbidden = API_KEY, 0, False

    def client(self, service: str) -> Cloud:
        """As ``boto3.client``."""
        assert service == "secretsmanager"
        return self

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:  # noqa: N803 (that is what AWS calls it)
        """As of Secrets Manager."""
        assert SecretId == "payments/mangopay"
        return {"SecretString": self._read()}

    def read_secret_version(self, *, path: str) -> dict[str, dict[str, dict[str, str]]]:
        """As of Vault's second store for pairs."""
        assert path == "payments/mangopay"
        if self.is_forbidden:
            raise Forbidden(f"not {self.secret}")
        return {"data": {"data": {"api_key": self._read()}}}

    def _read(self) -> str:
        self.asked += 1
        return self.secret


class Forbidden(Exception):
    """Of hvac."""


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    made = Cloud()
    vault = partial(SimpleNamespace, secrets=SimpleNamespace(kv=SimpleNamespace(v2=made)))
    modules: dict[str, dict[str, Any]] = {
        "boto3": {"client": made.client},
        "hvac": {
            "Client": vault,
            "exceptions": SimpleNamespace(Forbidden=Forbidden),
        },
    }
    for name, things in modules.items():
        module = ModuleType(name)
        vars(module).update(things)
        monkeypatch.setitem(sys.modules, name, module)
    return made


def pem() -> bytes:
    return generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture
def page(mangopay: MangopayServer, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """The page, run. The files that it names are in the folder of the test."""
    assert mangopay.token_requests == 0
    assert cloud.asked == 0
    for name, content in {
        "MANGOPAY_API_KEY_FILE": f"{API_KEY}\n".encode(),
        "AZURE_FEDERATED_TOKEN_FILE": b"of.this.pod\n",
        "CLIENT_KEY_FILE": pem(),
    }.items():
        file = tmp_path / name.lower()
        file.write_bytes(content)
        monkeypatch.setenv(name, str(file))
    monkeypatch.setenv("AZURE_TENANT_ID", "the-tenant")
    monkeypatch.setenv("AZURE_CLIENT_ID", "the-application")
    return run("credentials")


def rotate(server: MangopayServer) -> None:
    """The key is another one, and the token is over."""
    server.set_api_key(NEW_KEY)
    server.advance(3_600)


def test_a_file_is_read_again_for_the_next_token(
    mangopay: MangopayServer, page: SimpleNamespace, tmp_path: Path
) -> None:
    assert page.client.get("/users").status_code == 200
    rotate(mangopay)
    (tmp_path / "mangopay_api_key_file").write_text(NEW_KEY)
    assert page.client.get("/users").status_code == 200
    assert mangopay.token_requests == 2


@pytest.mark.parametrize("name", ["auth_on_aws", "auth_by_vault"])
def test_the_cloud_is_asked_once_for_each_token(
    mangopay: MangopayServer, page: SimpleNamespace, cloud: Cloud, name: str
) -> None:
    before = cloud.asked
    with httpx.Client(auth=getattr(page, name), base_url=page.auth.api_base) as client:
        assert {client.get("/users").status_code for _ in range(20)} == {200}
        cloud.secret = NEW_KEY
        rotate(mangopay)
        assert {client.get("/users").status_code for _ in range(20)} == {200}
    assert cloud.asked - before == 2
    assert mangopay.token_requests == 2


def test_what_people_may_see_of_a_vault_is_told(page: SimpleNamespace, cloud: Cloud) -> None:
    cloud.is_forbidden = True
    with pytest.raises(TokenUnavailable, match="has this token's lease run out") as caught:
        page.auth_by_vault.source.authorization(timeout=0.1)
    assert API_KEY not in str(caught.value)


def test_a_coroutine_function_is_awaited(
    mangopay: MangopayServer, page: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = httpx.AsyncHTTPTransport.handle_async_request

    async def handle(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        if request.url.host == "vault.example.com":
            return httpx.Response(200, json={"data": {"data": {"api_key": API_KEY}}})
        return await there(transport, request)

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle)
    assert asyncio.run(page.source.authorization()).startswith("Bearer ")
    assert mangopay.token_requests == 1


def test_a_workload_sends_the_token_that_was_projected(page: SimpleNamespace) -> None:
    assert page.entra.endpoint.url == "https://login.microsoftonline.com/the-tenant/oauth2/v2.0/token"
    machine = TokenMachine(page.entra, draw=lambda: 0.5)
    request = machine.secret_told(0, machine.start_request(0), page.entra.secret_source())
    assert request is not None
    form = parse_qs(request.body.decode())
    assert form["client_assertion"] == ["of.this.pod"]
    assert form["client_id"] == ["the-application"]


def test_a_key_signs_and_another_one_takes_its_place(page: SimpleNamespace) -> None:
    machine: Any = page.by_key.source.coordinator.machine
    request = machine.start_request(0, signing=Signing(1_700_000_000.0, bytes(16)))
    assert b"client_assertion=ey" in request.body
    page.rotate(pem(), "2027-02")
    assert machine.grant.endpoint.authentication.kid == "2027-02"
    assert machine.explain(0).credentials_generation == 1


def test_a_machine_of_ones_own_asks_as_shown(page: SimpleNamespace, cloud: Cloud) -> None:
    assert page.request is not None
    assert page.request.headers
    assert cloud.asked == 1
