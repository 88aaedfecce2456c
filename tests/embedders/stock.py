"""The same libraries without evertoken: what the package itself keeps, or what its documentation has people write."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from unittest import mock

from anthropic import Anthropic
from anthropic.lib.credentials import AccessToken as AnthropicToken
from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import BearerTokenCredentialPolicy
from azure.core.rest import HttpRequest
from google.auth import credentials
from google.auth.transport.requests import AuthorizedSession
from mangopay.api import APIRequest
from mangopay.auth import StaticStorageStrategy
from mangopay.resources import User
from openai import OpenAI
from pyiceberg.catalog.rest import RestCatalog

from tests.embedders import services
from tests.embedders.ours import azure_client
from tests.embedders.stories import Call, Embedder
from tests.kits.place import CLIENT, KEY, Place

__all__ = ("STOCK",)


def mangopay(place: Place) -> Generator[Call]:
    """Its own storage, in memory; a token is renewed half a minute before its end."""
    StaticStorageStrategy._dict.clear()
    handler = APIRequest(CLIENT, KEY, api_sandbox_url=f"{place.emulator.base_url}/v2.01/", sandbox=True)
    with place.times_of("mangopay.auth"), handler._session:
        yield lambda: User.get("user_m_1", handler=handler)


def pyiceberg(place: Place) -> Generator[Call]:
    """Its own ``oauth2``, with its margin of a minute."""
    place.answers.update(services.EVERYTHING)
    settings = {"client_id": CLIENT, "client_secret": KEY, "token_url": place.token_url}
    auth: Any = {"type": "oauth2", "oauth2": settings}
    with place.times_of("pyiceberg.catalog.rest.auth"), RestCatalog("lake", uri=place.api, auth=auth) as catalog:
        yield catalog.list_namespaces


def openai(place: Place) -> Generator[Call]:
    """A callable that fetches a token: it is called for each request."""
    place.answers.update(services.EVERYTHING)
    with OpenAI(base_url=place.api, api_key=lambda: str(place.fetch()["access_token"])) as client:
        yield lambda: client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])


def anthropic(place: Place) -> Generator[Call]:
    """A provider that fetches a token: the SDK keeps it, and renews it two minutes before its end."""
    place.answers.update(services.EVERYTHING)

    def provider(*, force_refresh: bool = False) -> AnthropicToken:
        token = place.fetch()
        return AnthropicToken(token["access_token"], expires_at=int(place.wall.time() + token["expires_in"]))

    client: Any = Anthropic(base_url=place.api, credentials=provider)
    client._token_cache._time_source = place.wall.time
    with client, mock.patch.object(client, "_sleep_for_retry"):
        yield lambda: client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hello"}])


def azure(place: Place) -> Generator[Call]:
    """A credential that fetches a token: the policy keeps it, and renews it five minutes before its end."""

    class Credential:
        def get_token(self, *scopes: str, **options: object) -> AccessToken:
            token = place.fetch()
            return AccessToken(token["access_token"], int(place.wall.time() + token["expires_in"]))

    policy: Any = BearerTokenCredentialPolicy(Credential(), "scope")
    with place.times_of("azure.core.pipeline.policies._authentication"), azure_client(place, policy) as client:
        yield lambda: client.send_request(
            HttpRequest("GET", f"{place.api}/users"), enforce_https=False
        ).raise_for_status()


def google(place: Place) -> Generator[Call]:
    """Credentials that fetch a token: the session keeps it, and renews it nearly four minutes before its end."""

    class Fetched(credentials.Credentials):
        def refresh(self, request: object) -> None:
            token = place.fetch()
            self.token = token["access_token"]
            self.expiry = now() + timedelta(seconds=token["expires_in"])

    def now() -> datetime:
        return datetime.fromtimestamp(place.wall.time(), UTC).replace(tzinfo=None)

    with mock.patch("google.auth._helpers.utcnow", now), AuthorizedSession(Fetched()) as session:
        yield lambda: session.get(f"{place.api}/users").raise_for_status()


STOCK: Mapping[str, Embedder] = MappingProxyType(
    {
        "mangopay4-python-sdk": contextmanager(mangopay),
        "openai": contextmanager(openai),
        "anthropic": contextmanager(anthropic),
        "pyiceberg": contextmanager(pyiceberg),
        "azure-core": contextmanager(azure),
        "google-auth": contextmanager(google),
    }
)
