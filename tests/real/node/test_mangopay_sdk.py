"""Mangopay's SDK for Node.js, unchanged, against the emulator; and the programs that `evertoken emulate` prints."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from evertoken.testing import TokenTruth
from evertoken_transports.emulator import Emulator
from tests.kits.emulation import emulating, options
from tests.kits.mangopay_sdks import CLIENT, KEY, api_calls, emulator, run, token_requests

__all__ = ("emulator",)

NODE = Path(__file__).parent


@pytest.fixture(scope="module")
def node() -> str:
    """The interpreter, with the SDK at hand."""
    found = shutil.which("node")
    assert found is not None, "missing: Node.js 18 or later with npm (Debian has them in the packages nodejs and npm)"
    assert (NODE / "node_modules" / ".ready").exists(), "missing: Mangopay's SDK for Node.js (`make node` installs it)"
    return found


def calls_in_node(node: str, base_url: str, key: str, *names: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(node, "calls.js", base_url, CLIENT, key, *names, folder=NODE).splitlines()]


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
            assert run(*interpreter, lines.program(client), folder=NODE)
            lines.wait_for("POST", "/v2.01/oauth/token", "200", f"token {number} issued")
            lines.wait_for("GET", "/users", "200", f"token {number} valid")
    assert not [line for line in lines if "tok-" in line], "a token was written"
    assert lines[-1] == "token requests: 3, tokens issued: 3, API calls: 3"
