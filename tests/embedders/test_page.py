"""Every example of docs/embedders.md works as it stands, against servers on this machine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import pytest

from evertoken import Policy
from evertoken.testing import Script
from tests.embedders import services
from tests.kits.place import CLIENT, KEY, Place, opened
from tests.kits.source_tree import ROOT

PAGE = (ROOT / "docs/embedders.md").read_text(encoding="utf-8")
GRANT, *SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
EXAMPLES = {section.partition("\n")[0]: section for section in SECTIONS if "```python" in section}


def code_of(section: str) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL))


def adapted(code: str, place: Place, target: str) -> str:
    """``code`` with the places of this story in it, and without TLS, which they do not speak."""
    for there, here in {
        "https://auth.example.com/oauth/token": place.token_url,
        "https://api.example.com": place.api,
        "https://mcp.example.com": place.api,
        "grpc.example.com:443": target,
        "grpc.ssl_channel_credentials": "grpc.local_channel_credentials",
        "kafka.example.com:9093": "127.0.0.1:1",
        "my-client": CLIENT,
        "my-secret": KEY,
        'users")).raise': 'users"), enforce_https=False).raise',
        'users"))).raise': 'users"), enforce_https=False)).raise',
    }.items():
        code = code.replace(there, here)
    return code


@contextmanager
def ran(name: str, place: Place, target: str = "") -> Generator[dict[str, Any]]:
    """What the example ``name`` has defined. Its clients are closed at the end, which examples leave out."""
    found: dict[str, Any] = {"__name__": "an example"}
    grant = place.emulator.grant()
    with mock.patch("evertoken.mangopay.sandbox", return_value=grant):
        exec(adapted(code_of(GRANT) + code_of(EXAMPLES[name]), place, target), found)
    yield found
    if "pool" in found:
        found["pool"].clear()
    if "handler" in found:
        found["handler"]._session.close()
    if "session" in found:
        found["session"].close()


@pytest.fixture
def place() -> Iterator[Place]:
    with opened(Script(lifetime=1_200), Policy()) as place:
        place.answers.update(services.EVERYTHING)
        yield place


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_works_and_makes_one_token_request(name: str, place: Place) -> None:
    with ExitStack() as stack:
        target = stack.enter_context(services.grpc_server(place)) if name == "gRPC" else ""
        with ran(name, place, target):
            pass
    assert place.token_requests == 1
    assert {status for *_, status in place.calls} <= {200, 202, 405}


@pytest.mark.parametrize("name", ["urllib3", "niquests", "gidgethub"])
def test_a_recipe_repeats_a_call_whose_token_was_revoked(name: str, place: Place) -> None:
    with ran(name, place) as found:
        place.emulator.revoke_all()
        if name == "gidgethub":
            asyncio.run(found["main"]())
        else:
            found["call"]("POST", f"{place.api}/users")
    assert [status for *_, status in place.calls] == [200, 401, 200]
    assert place.token_requests == 2


def test_every_adapter_is_on_the_page() -> None:
    folder = ROOT / "transports/evertoken_transports/adapters"
    assert all(f"evertoken_transports.adapters.{path.stem}" in PAGE for path in folder.glob("[a-z]*.py"))
