"""The Mangopay profile, pinned: addresses, raw Basic, the body to the letter, and what its refusals mean."""

from __future__ import annotations

import inspect
from base64 import b64decode
from collections.abc import Callable

import pytest

from evertoken import BasicAuthentication, ClientCredentials, mangopay
from tests.kits import canary
from tests.kits.driving import machine

Preset = Callable[..., ClientCredentials]


@pytest.mark.parametrize(
    ("preset", "mtls", "host"),
    [
        (mangopay.production, False, "https://api.mangopay.com"),
        (mangopay.production, True, "https://api-mtls.mangopay.com"),
        (mangopay.sandbox, False, "https://api.sandbox.mangopay.com"),
        (mangopay.sandbox, True, "https://api-mtls.sandbox.mangopay.com"),
    ],
)
def test_the_token_endpoint_has_no_client_id_in_its_path_and_the_api_has(preset: Preset, mtls: bool, host: str) -> None:
    grant = preset(client_id="sdk-unit-tests", api_key=canary.secret(), mtls=mtls)
    assert grant.endpoint.url == f"{host}/v2.01/oauth/token"
    assert grant.api_base == f"{host}/v2.01/sdk-unit-tests"
    assert grant.endpoint.authentication == BasicAuthentication("raw")
    assert grant.endpoint.profile is mangopay.PROFILE


def test_the_request_is_raw_basic_and_exactly_the_grant_type() -> None:
    grant = mangopay.sandbox("sdk-unit-tests", f"{canary.secret()} %ü:")
    request = machine(credentials=grant).start_request(0)
    assert request.body == b"grant_type=client_credentials"
    assert request.method == "POST"
    headers = dict(request.headers)
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    code = headers["Authorization"].removeprefix("Basic ")
    assert b64decode(code).decode() == f"sdk-unit-tests:{canary.secret()} %ü:"


@pytest.mark.parametrize("preset", [mangopay.production, mangopay.sandbox])
def test_another_host_may_be_named_as_mangopays_sdks_name_it(preset: Preset) -> None:
    for base in (
        "http://127.0.0.1:8080",
        "https://gateway.example/v1/mangopay",
        "https://v2.01",
        "https://h.example/xv2.01",
    ):
        for ending in ("", "/", "//", "/v2.01", "/v2.01/", "/V2.01//", "//v2.01/", "/v2.01/c%20d", "/v2.01/c%20d/"):
            grant = preset(client_id="c d", api_key=canary.secret(), base_url=f"{base}{ending}")
            assert grant.endpoint.url == f"{base}/v2.01/oauth/token"
            assert grant.api_base == f"{base}/v2.01/c%20d"


@pytest.mark.parametrize("preset", [mangopay.production, mangopay.sandbox])
@pytest.mark.parametrize(
    "path", ["/v2.01/oauth/token", "/v2.01/another", "/v2.01/C", "/v2.01/c/users", "/v2.01/v2.01", "/v2.01/v2.01/c/"]
)
def test_a_base_url_with_more_of_mangopays_path_in_it_is_refused_by_name(preset: Preset, path: str) -> None:
    with pytest.raises(ValueError, match=r"^base_url must be what comes before /v2\.01") as caught:
        preset("c", canary.secret(), base_url=f"https://api.example{path}")
    assert not canary.find_marks(str(caught.value))


@pytest.mark.parametrize("preset", [mangopay.production, mangopay.sandbox])
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("client_id", ""),
        ("client_id", None),
        ("client_id", " c"),
        ("client_id", "a:b"),
        ("client_id", "c\ud800"),
        ("api_key", ""),
        ("api_key", None),
        ("api_key", f"{canary.secret()}\n"),
        ("api_key", f"{canary.secret()}\ud800"),
        ("base_url", ""),
        ("base_url", "http://api.example"),
        ("base_url", "https://user:pw@api.example"),
        ("base_url must begin with https://", "api.example"),
        ("base_url must begin with https://", "localhost:8080"),
        ("base_url must begin with https://", "//api.example/v2.01"),
        ("base_url must begin with https://", "https:///v2.01"),
        ("mtls", "cert.pem"),
        ("mtls", None),
        ("mtls", 1),
    ],
)
def test_a_wrong_argument_is_refused_by_its_own_name_and_nothing_is_shown(
    preset: Preset, argument: str, value: object
) -> None:
    arguments = {"client_id": "c", "api_key": canary.secret()} | {argument.split(maxsplit=1)[0]: value}
    with pytest.raises(ValueError, match=rf"^{argument} ") as caught:
        preset(**arguments)
    assert not canary.find_marks(str(caught.value))


def test_a_client_id_is_quoted_in_paths() -> None:
    grant = mangopay.sandbox("a/b ü", canary.secret())
    assert grant.api_base == "https://api.sandbox.mangopay.com/v2.01/a%2Fb%20%C3%BC"


def test_unauthorized_client_is_a_lock_here() -> None:
    assert mangopay.PROFILE.locked_codes == ("unauthorized_client",)


def test_the_advice_names_the_mix_up_of_sandbox_and_production() -> None:
    for advice in (mangopay.PROFILE.refused_advice, mangopay.PROFILE.locked_advice):
        assert "sandbox" in advice
        assert "production" in advice
    assert "allowlist" in mangopay.PROFILE.forbidden_advice


def test_both_presets_take_the_same_arguments() -> None:
    assert inspect.signature(mangopay.production) == inspect.signature(mangopay.sandbox)


@pytest.mark.parametrize("preset", [mangopay.production, mangopay.sandbox])
def test_a_base_url_with_a_query_is_refused_since_paths_are_added_to_it(preset: Preset) -> None:
    with pytest.raises(ValueError, match="base_url must not have a query"):
        preset("id", canary.secret(), base_url="https://api.example/?tenant=1")
