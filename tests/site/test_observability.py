"""The page about events, metrics and health: its tables are what there is, and its examples run."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import REGISTRY, generate_latest

from evertoken import HttpResponse
from evertoken.mangopay import sandbox
from evertoken_transports import Event, Readiness, RequestNotSigned
from evertoken_transports._events import _LEVELS
from evertoken_transports.otel import Telemetry
from evertoken_transports.testing import MangopayServer
from evertoken_transports.threads import TokenSource
from tests.kits.pages import first_column, run, text_of
from tests.kits.source_tree import TRANSPORTS
from tests.kits.worlds import until
from tests.site.conftest import API_KEY, CLIENT_ID

OK = HttpResponse(200, (), b'{"access_token":"made-up","token_type":"bearer","expires_in":1200}')
KINDS = {"Histogram": "histogram", "Counter": "counter", "ObservableGauge": "gauge"}


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables below a heading, without their heads."""
    (text,) = re.findall(rf"(?ms)^## {heading}\n(.*?)(?=^## |\Z)", text_of("observability"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in re.findall(r"(?m)^\| `.*$", text)]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_page_has_every_event_with_its_fields_and_level_and_no_other() -> None:
    shown = {words(event)[0]: (words(fields), level) for event, fields, level, *_ in rows("Events")}
    events = {event.__name__: event for event in get_args(Event)}
    assert shown.keys() == events.keys()
    for name, (fields, level) in shown.items():
        assert fields == [field.name for field in dataclasses.fields(events[name])], name
        usual = {10: "DEBUG", 20: "INFO", 30: "WARNING"}[_LEVELS.get(events[name], 10)]
        assert level.partition(";")[0] == ("WARNING" if events[name] is RequestNotSigned else usual), name


def test_every_event_can_be_imported_from_where_users_look() -> None:
    import evertoken_transports

    assert {event.__name__ for event in get_args(Event)} <= set(dir(evertoken_transports))


class Meter:
    """Notes what is made of it, with the SDK's own names for the kinds."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[str, str]] = {}
        self._real = MeterProvider([InMemoryMetricReader()]).get_meter("test")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        make = getattr(self._real, name)

        def noted(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            made = make(*arguments, **named)
            self.made[made.name] = KINDS[type(made).__name__.lstrip("_")], made.unit
            return made

        return noted


def test_the_page_has_every_instrument_with_its_kind_and_unit_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter()

    def get_meter(_: str, **__: object) -> Meter:
        return meter

    monkeypatch.setattr(metrics, "get_meter", get_meter)
    Telemetry()
    shown = {words(row[0])[0]: (row[1], words(row[2])[0]) for row in rows("OpenTelemetry") if len(row) == 5}
    assert shown == meter.made


def test_the_page_has_every_attribute_and_span_that_the_code_names() -> None:
    code = (TRANSPORTS / "evertoken_transports" / "otel.py").read_text(encoding="utf-8")
    named = set(re.findall(r'"(evertoken\.[a-z.]+|error\.type|server\.address)"', code))
    spans = set(re.findall(r'"(evertoken [a-z ]+)"', code))
    shown = {word for row in rows("OpenTelemetry") for cell in row for word in words(cell)}
    assert named <= shown
    assert {words(row[0])[0] for row in rows("OpenTelemetry") if len(row) == 3} == spans
    assert {word for word in shown if word.startswith("evertoken.") or "." in word} == named


def test_the_page_has_all_of_readiness() -> None:
    names = [field.name for field in dataclasses.fields(Readiness)]
    assert first_column("observability", "Health endpoints") == [*names, "status_code"]


@pytest.fixture
def restored() -> Iterator[None]:
    """OpenTelemetry's provider is set once in a process: the page's ends with this test."""
    internal: Any = importlib.import_module("opentelemetry.metrics._internal")
    before = internal._METER_PROVIDER, internal._METER_PROVIDER_SET_ONCE
    internal._METER_PROVIDER_SET_ONCE = type(before[1])()
    yield
    internal._METER_PROVIDER.shutdown()
    internal._METER_PROVIDER, internal._METER_PROVIDER_SET_ONCE = before


@pytest.mark.usefixtures("restored")
def test_the_page_runs_and_prometheus_sees_the_names_of_its_rules(
    mangopay: MangopayServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[tuple[int, str]] = []
    taken: set[int] = set()

    def start_http_server(port: int, addr: str) -> None:
        if port in taken:
            raise OSError("Address already in use")
        served.append((port, addr))

    monkeypatch.setattr("prometheus_client.start_http_server", start_http_server)
    page = run("observability")
    assert mangopay.token_requests == 1
    assert page.blocked == []
    assert capsys.readouterr().out.startswith("200 ready: token good for")
    assert served == [(9464, "127.0.0.1")]
    taken.update({9464, 9465})
    assert page.serve_metrics(9464) == 9466
    with pytest.raises(RuntimeError, match="none of 2 ports from 9464"):
        page.serve_metrics(9464, count=2)
    source = TokenSource(
        sandbox(CLIENT_ID, API_KEY).with_secret("another"), exchange=lambda _: OK, on_event=Telemetry()
    )
    source.authorization()
    until(lambda: 'outcome="granted"' in generate_latest(REGISTRY).decode())  # Another thread tells of it.
    told = generate_latest(REGISTRY).decode()
    rules = text_of("observability").partition("groups:")[2]
    names = set(re.findall(r"\b(evertoken_\w+)\b", rules)) - {"evertoken_request_outcome"}
    assert len(names) == 4
    assert not [name for name in names if name not in told]
