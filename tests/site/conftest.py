"""A world in which the examples of the documentation can run: Mangopay is at hand, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from evertoken_transports.testing import MangopayServer
from tests.transports.conftest import authorities_read_once

__all__ = ("authorities_read_once", "mangopay")

CLIENT_ID, API_KEY = "your-client-id", "your-api-key"


@pytest.fixture
def mangopay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MangopayServer]:
    """Mangopay, whose account is the one that the pages name, at the end of every connection of httpx."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MANGOPAY_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("MANGOPAY_API_KEY", API_KEY)
    with MangopayServer(client_id=CLIENT_ID, api_key=API_KEY) as server:
        there = server.httpx_transport()

        def handle(_: object, request: httpx.Request) -> httpx.Response:
            return there.handle_request(request)

        async def handle_async(_: object, request: httpx.Request) -> httpx.Response:
            return await there.handle_async_request(request)

        monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
        monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", handle_async)
        yield server
