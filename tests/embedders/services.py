"""What the stories' APIs answer, and the servers that are no plain HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from confluent_kafka import Producer

from tests.kits.place import Answers, Place
from tests.kits.worlds import LIMIT

__all__ = ("EVERYTHING", "grpc_server", "producers")


def _ok(content: object) -> tuple[int, bytes]:
    return 200, json.dumps(content).encode()


COMPLETION = _ok(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
    }
)
MESSAGE = _ok(
    {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
)
CATALOG: Answers = {
    ("GET", "/v1/config"): _ok({"defaults": {}, "overrides": {}}),
    ("GET", "/v1/namespaces"): _ok({"namespaces": [["a"]]}),
}


def tools(body: bytes) -> tuple[int, bytes]:
    """An MCP server of one tool, by the handshake of 2025: each request is answered with JSON."""
    message = json.loads(body)
    if "id" not in message:
        return 202, b""
    results: dict[str, object] = {
        "initialize": {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "tools", "version": "1"},
        },
        "tools/list": {"tools": [{"name": "add", "inputSchema": {"type": "object"}}]},
    }
    answer: dict[str, object] = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] in results:
        return _ok(answer | {"result": results[message["method"]]})
    return _ok(answer | {"error": {"code": -32_601, "message": "there is no such method"}})


EVERYTHING: Answers = {
    **CATALOG,
    ("POST", "/chat/completions"): COMPLETION,
    ("POST", "/v1/messages"): MESSAGE,
    ("POST", "/mcp"): tools,
    ("GET", "/mcp"): (405, b""),
}


@contextmanager
def grpc_server(place: Place) -> Generator[str]:
    """A gRPC server that serves any unary call whose token is valid; its address."""

    def serve(request: bytes, context: Any) -> bytes:  # noqa: ANN401 (grpcio has no types)
        sent = dict(context.invocation_metadata()).get("authorization")
        if not place.is_valid(sent):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "bad token")
        return request

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: object) -> Any:  # noqa: ANN401
            return grpc.unary_unary_rpc_method_handler(serve)

    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(LIMIT)


def producers(oauth_cb: Callable[[str], tuple[str, float]]) -> Callable[[], None]:
    """Start a producer, and see it get its token, which it does before it looks for its broker: there is none."""

    def start() -> None:
        outcomes: list[object] = []

        def asked(config: str) -> tuple[str, float]:
            try:
                outcomes.append(oauth_cb(config))
            except Exception as error:
                outcomes.append(error)
                raise
            return oauth_cb(config)

        producer = Producer(
            {
                "bootstrap.servers": "127.0.0.1:1",
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanisms": "OAUTHBEARER",
                "oauth_cb": asked,
                "logger": _Quiet(),
            }
        )
        while not outcomes:
            producer.poll(0.1)
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]

    return start


class _Quiet:
    def log(self, *_: object) -> None:
        """Nobody needs to hear that there is no broker."""
