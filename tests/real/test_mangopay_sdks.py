"""Mangopay's own SDKs, unchanged, against the emulator: they are served, and it counts what they ask of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mangopay.api import APIRequest
from mangopay.exceptions import APIError
from mangopay.resources import CountryAuthorization, Notification, PayInIntent, User

from evertoken.testing import Arrival, Route, Script, TokenTruth
from evertoken_transports.emulator import Emulator
from tests.kits.emulation import LIMIT, emulating, options

# The SDKs ship no types that Python knows of. Their logs show tokens and keys, so nothing here is marked.
Theirs = Any

CLIENT, KEY = "my shop's", "an-API-key"
NODE = Path(__file__).parent / "node"

# What they reach on this machine is not to go through a proxy.
DIRECT = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    for name in os.environ.keys() - DIRECT.keys():
        monkeypatch.delenv(name)
    with Emulator(client_id=CLIENT, api_key=KEY) as emulator:
        yield emulator


def token_requests(emulator: Emulator) -> list[int | None]:
    """The status of the answer to each."""
    return [arrival.status for arrival in emulator.arrivals if arrival.route is Route.TOKEN]


def api_calls(emulator: Emulator) -> list[Arrival]:
    return [arrival for arrival in emulator.arrivals if arrival.route is Route.API]


# In Python
# ---------


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


# In Node.js
# ----------


@pytest.fixture(scope="module")
def node() -> str:
    """The interpreter, with the SDK at hand."""
    found = shutil.which("node")
    assert found is not None, "missing: Node.js 18 or later with npm (Debian has them in the packages nodejs and npm)"
    assert (NODE / "node_modules" / ".ready").exists(), "missing: Mangopay's SDK for Node.js (`make real` installs it)"
    return found


def run(*command: str) -> str:
    """What it prints. The test fails if it complains, or does not end."""
    ended = subprocess.run(command, cwd=NODE, env=DIRECT, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout + ended.stderr
    return ended.stdout


def calls_in_node(node: str, base_url: str, key: str, *names: str) -> list[dict[str, Theirs]]:
    return [json.loads(line) for line in run(node, "calls.js", base_url, CLIENT, key, *names).splitlines()]


@pytest.mark.parametrize("ending", ["", "/"])
def test_the_calls_of_the_node_sdk_are_served_with_one_token_request(
    node: str, emulator: Emulator, ending: str
) -> None:
    names = ["list", "read", "create", "countries"]
    results = calls_in_node(node, emulator.base_url + ending, KEY, *names)
    assert [result["answer"]["TokenNumber"] for result in results] == [1] * len(names)
    assert token_requests(emulator) == [200]
    assert [(seen.method, seen.path, seen.status, seen.token_truth) for seen in api_calls(emulator)] == [
        (method, f"/v2.01/{path}", 200, TokenTruth.VALID)
        for method, path in [
            ("GET", "my%20shop's/users"),
            ("GET", "my%20shop's/users/user_m_1"),
            ("POST", "my%20shop's/users/legal"),
            ("GET", "countries/authorizations"),
        ]
    ]


def test_the_node_sdk_passes_on_a_refusal_and_asks_again_for_every_call(node: str, emulator: Emulator) -> None:
    results = calls_in_node(node, emulator.base_url, "another-API-key", "list", "list")
    assert results == [{"error": {"error": "invalid_client"}}] * 2
    assert token_requests(emulator) == [401, 401]


# As printed
# ----------


def test_every_program_that_the_emulator_prints_works_as_it_stands(node: str) -> None:
    python = (sys.executable, "-c")
    interpreters = {
        "Python, with evertoken": python,
        "Mangopay's SDK for Python": python,
        "Mangopay's SDK for Node.js": (node, "-e"),
    }
    with emulating(options(client_id=CLIENT)) as lines:
        for number, (client, interpreter) in enumerate(interpreters.items(), 1):
            assert run(*interpreter, lines.program(client))
            lines.wait_for("POST", "/v2.01/oauth/token", "200", f"token {number} issued")
            lines.wait_for("GET", "/users", "200", f"token {number} valid")
    assert not [line for line in lines if "tok-" in line], "a token was written"
    assert lines[-1] == "token requests: 3, tokens issued: 3, API calls: 3"
