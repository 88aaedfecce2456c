"""Other people's SDKs with the tokens of a source: one module for each, which needs the SDK to be imported.

``mangopay_sdk``, ``openai_sdk``, ``anthropic_sdk``, ``mcp_client``, ``pyiceberg_catalog``, ``azure_core``,
``azure_core_aio``, ``google_auth``, ``grpc_calls``, ``grpc_aio_calls``, ``kafka``. None of these SDKs is a dependency
of evertoken, and no other module imports one of these. For HTTP libraries see ``evertoken_transports.httpx``,
``.httpx2``, ``.requests`` and ``.aiohttp``.
"""

from __future__ import annotations

__all__: tuple[str, ...] = ()
