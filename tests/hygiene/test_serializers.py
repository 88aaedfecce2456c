"""Libraries that write values down, and find by themselves what is in them: of a secret they write nothing."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import pprint
from collections.abc import Callable, Mapping
from typing import Any

import orjson
import pydantic
import pytest
import structlog
from rich.console import Console
from rich.pretty import Pretty

import evertoken
from evertoken import (
    Challenge,
    ClientCredentials,
    PostAuthentication,
    Ready,
    TokenEndpoint,
    next_move,
    outcomes,
)
from evertoken._grammar import AnswerReceived, TokenRejected, TokenWorked
from evertoken._secrecy import Hidden, Unpicklable
from evertoken.happenings import RequestEnded
from evertoken.sharing import Acquire, Answer, Found, Send
from evertoken.sharing._actions import Swap
from evertoken.sharing._record import Grant
from evertoken_transports import Coordinator, Token
from evertoken_transports._asking import Secret
from evertoken_transports._carrier import _NoAnswer
from evertoken_transports._httpx.flow import _Signature
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.kits.driving import bearer, granted, machine


def values() -> dict[str, object]:
    """One of each kind of value that holds a secret or a token, and of what holds such a value."""
    post = ClientCredentials(
        TokenEndpoint("https://as.example", PostAuthentication()),
        "canary",
        canary.secret(),
        parameters={"password": canary.secret()},
    )
    m = machine(credentials=post)
    request = m.start_request(0)
    outcome = m.receive_response(0, request, granted(1))
    move = next_move(m, 0, since=0, deadline=1)
    assert isinstance(outcome, outcomes.Granted)
    assert isinstance(move, Ready)
    value = canary.secret().encode()
    found = (
        *(post, post.message(), PostAuthentication().authenticate(post), request, granted(1), outcome, move),
        *(m, m.token(0), m.state_value, m.snapshot(0, secrets=True), m.explain(0), Hidden(canary.secret())),
        *(AnswerReceived(0, 1, outcome), TokenRejected(0, bearer(1), Challenge.TOKEN)),
        *(TokenWorked(0, bearer(1)), RequestEnded(1, outcome)),
        *(Found(value, 0.0), Swap("k", value, value, 1.0, "", 1.0), Acquire("k", value, value, 1.0, "", 1.0)),
        *(Send(request), Answer(granted(1)), evertoken.Seen(0.0, read=outcome), Grant(outcome, 0.0, 0.0, 1)),
        Token(canary.token(), bearer(), 0.0, None, 0.0, float),
        *(
            _NoAnswer(canary.secret()),
            Secret(canary.secret()),
            _Signature(bearer(1)),
            Coordinator(m),
            TokenSource(post, exchange=refuse),
        ),
    )
    return {type(value).__name__: value for value in found}


def refuse(request: object) -> evertoken.HttpResponse:
    """No exchange of these tests is ever used."""
    raise AssertionError(request)


VALUES = values()


def in_a_model(value: object) -> pydantic.BaseModel:
    """A pydantic model with ``value`` in a field of its type."""
    lenient = pydantic.ConfigDict(arbitrary_types_allowed=True)
    return pydantic.create_model("Model", __config__=lenient, field=(type(value), ...))(field=value)


def raised_beside(value: object) -> str:
    """What structlog makes of an exception in a frame with ``value`` in a local variable."""
    render = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=True))
    try:
        int("wrong")
    except ValueError as error:
        return str(render(None, "error", {"exc_info": error, "value": value}))
    return ""


def on_a_console(value: object) -> str:
    """What rich prints."""
    console = Console(file=io.StringIO(), width=10_000)
    console.print(Pretty(value), value)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


WRITERS: Mapping[str, Callable[[Any], object]] = {
    "asdict": dataclasses.asdict,
    "astuple": dataclasses.astuple,
    "replace": dataclasses.replace,
    "json": lambda value: json.dumps(value, default=vars),
    "json, as text": lambda value: json.dumps(value, default=str),
    "orjson": orjson.dumps,
    "orjson, as text": lambda value: orjson.dumps(value, default=repr),
    "pydantic": lambda value: pydantic.TypeAdapter(type(value)).dump_json(value),
    "pydantic, whatever it is": lambda value: pydantic.TypeAdapter(object).dump_json(value),
    "a field of pydantic": lambda value: in_a_model(value).model_dump_json(),
    "a field of pydantic, in Python": lambda value: in_a_model(value).model_dump(),
    "the repr of a field of pydantic": in_a_model,
    "structlog, JSON": lambda value: structlog.processors.JSONRenderer()(None, "info", {"value": value}),
    "structlog, key and value": lambda value: structlog.processors.KeyValueRenderer()(None, "info", {"value": value}),
    "structlog, logfmt": lambda value: structlog.processors.LogfmtRenderer()(None, "info", {"value": value}),
    "structlog, console": lambda value: structlog.dev.ConsoleRenderer()(None, "info", {"event": "e", "value": value}),
    "structlog, a traceback": raised_beside,
    "rich": on_a_console,
    "pprint": pprint.pformat,
    "a copy": copy.copy,
    "a deep copy": copy.deepcopy,
    "its state": lambda value: value.__getstate__() if isinstance(value, Unpicklable) else None,
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_with_a_secret_is_refused_or_redacted(name: str) -> None:
    values = (VALUES[name], [VALUES[name]], {"nested": VALUES[name]})
    assert not [way for way, write in WRITERS.items() for value in values if _is_given_away(write, value)]


def _is_given_away(write: Callable[[Any], object], value: object) -> bool:
    try:
        written = write(value)
    except Exception as error:  # noqa: BLE001 - whatever it raises, it writes nothing
        written = f"{error!r} {error}"
    return bool(canary.find_marks(written if isinstance(written, bytes) else f"{written!r} {written}"))


def test_every_kind_of_value_that_can_hold_a_secret_was_tried() -> None:
    ours = [kind for kind in Unpicklable.__subclasses__() if kind.__module__.startswith("evertoken")]
    kinds = {kind.__name__ for kind in ours if hasattr(kind, "__match_args__") and ".testing." not in kind.__module__}
    assert kinds - {"Options"} <= set(VALUES)  # Those of the command line, which nobody else sees.
    assert not [name for name, value in VALUES.items() if name in kinds and dataclasses.is_dataclass(value)]
