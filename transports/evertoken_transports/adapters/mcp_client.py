"""The Model Context Protocol's client over HTTP, with machine-to-machine tokens. Needs mcp, httpx2 and h11."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

try:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client
except ImportError as error:
    raise ImportError(
        "evertoken_transports.adapters.mcp_client needs mcp 2 or later: pip install mcp", name=error.name
    ) from error

from evertoken_transports.httpx2 import BearerAuth

__all__ = ("streamable_http",)

_TIMEOUT = httpx2.Timeout(30.0, read=300.0)
"""Seconds, as in the SDK's own client: an MCP server may keep the stream of an answer open for long."""


@asynccontextmanager
async def streamable_http(url: str, auth: BearerAuth, **options: Any) -> AsyncGenerator[Any]:  # noqa: ANN401 (the SDK's)
    """The SDK's transport to the server at ``url``, which its ``streamable_http_client`` makes, with signed requests.

    ::

        auth = BearerAuth(grant, origins=("https://mcp.example.com",))
        async with Client(streamable_http("https://mcp.example.com/mcp", auth)) as client:
            await client.list_tools()

    A request whose token was revoked is repeated. Requests at the same time do not wait for each other.

    Args:
        url: the server's endpoint.
        auth: signs the requests. An MCP server is seldom at the origin of the grant's ``api_base``: name its origin in
            ``origins=`` of ``auth``.
        options: further arguments of ``streamable_http_client``.
    """
    async with (
        httpx2.AsyncClient(auth=auth, timeout=_TIMEOUT) as client,
        streamable_http_client(url, http_client=client, **options) as streams,
    ):
        yield streams
