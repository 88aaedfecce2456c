"""Other people's SDKs with the tokens of a source: one module each, which imports its SDK, and nothing does unasked.

``mangopay_sdk``, ``openai_sdk``, ``anthropic_sdk``, ``mcp_client``, ``pyiceberg_catalog``, ``azure_core``,
``azure_core_aio``, ``google_auth``, ``grpc_calls``, ``grpc_aio_calls``, ``kafka``. None of these SDKs is a dependency
of evertoken. For HTTP libraries see ``evertoken_transports.httpx``, ``.httpx2``, ``.requests`` and ``.aiohttp``.
"""

from __future__ import annotations

__all__: tuple[str, ...] = ()
