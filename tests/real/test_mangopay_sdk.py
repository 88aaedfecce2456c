"""Mangopay's SDK for Python, unchanged, against the emulator: it is served, and it counts what the SDK asks of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mangopay.api import APIRequest
from mangopay.exceptions import APIError
from mangopay.resources import CountryAuthorization, Notification, PayInIntent, User

from evertoken.testing import Script, TokenTruth
from evertoken_transports.emulator import Emulator
from tests.kits.mangopay_sdks import CLIENT, KEY, api_calls, emulator, token_requests

__all__ = ("emulator",)

# The SDK ships no types. Its logs show tokens and keys, so nothing here is marked.
Theirs = Any


def handler_of(emulator: Emulator, key: str = KEY) -> Theirs:
    """What the SDK sends its calls through. It keeps its token in the SDK's own store, which is in memory."""
    return APIRequest(CLIENT, key, api_sandbox_url=f"{emulator.base_url}/v2.01/", sandbox=True)


def list_users(handler: Theirs) -> None:
    assert list(User.all(handler=handler))


def read_user(handler: Theirs) -> None:
    assert User.get("user_m_1", handler=handler)


def create_hook(handler: Theirs) -> None:
    Notification(event_type="KYC_SUCCEEDED", url="https://shop.example").save(handler=handler)


def read_intent(handler: Theirs) -> None:
    assert PayInIntent.get("int_1", handler=handler)


def list_countries(handler: Theirs) -> None:
    assert list(CountryAuthorization.get_all_countries_authorizations(handler=handler))


@pytest.mark.parametrize(
    ("call", "method", "path"),
    [
        (list_users, "GET", "/v2.01/my%20shop's/users"),
        (read_user, "GET", "/v2.01/my%20shop's/users/user_m_1"),
        (create_hook, "POST", "/v2.01/my%20shop's/hooks"),
        (read_intent, "GET", "/V3.0/my%20shop's/payins/intents/int_1"),
        (list_countries, "GET", "/v2.01/countries/authorizations"),
    ],
)
def test_a_call_of_the_python_sdk_is_served_with_one_token_request_however_often_it_is_made(
    emulator: Emulator, call: Callable[[Theirs], None], method: str, path: str
) -> None:
    handler = handler_of(emulator)
    for _ in range(3):
        call(handler)
    assert token_requests(emulator) == [200]
    assert {(seen.method, seen.path, seen.status, seen.token_truth) for seen in api_calls(emulator)} == {
        (method, path, 200, TokenTruth.VALID)
    }
    assert len(api_calls(emulator)) == 3


def test_a_life_within_the_margin_of_the_python_sdk_costs_a_token_request_for_every_call(emulator: Emulator) -> None:
    with emulator.server() as server:
        server.replace_script(Script(lifetime=30))
    handler = handler_of(emulator)
    for _ in range(3):
        User.all(handler=handler)
    assert token_requests(emulator) == [200, 200, 200]


def test_the_python_sdk_passes_on_a_refusal_and_a_revocation(emulator: Emulator) -> None:
    with pytest.raises(APIError, match="invalid_client") as refused:
        User.all(handler=handler_of(emulator, "another-API-key"))
    handler = handler_of(emulator)
    User.all(handler=handler)
    assert emulator.revoke_all() == 1
    with pytest.raises(APIError, match="invalid_credentials") as rejected:
        User.all(handler=handler)
    assert (refused.value.code, rejected.value.code) == (401, 401)
    assert token_requests(emulator) == [401, 200]
    assert [seen.token_truth for seen in api_calls(emulator)] == [TokenTruth.VALID, TokenTruth.REVOKED]
