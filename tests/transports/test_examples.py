"""The examples run as they stand, come to the same end everywhere, and notice what they say they check."""

from __future__ import annotations

import itertools
import os
import queue
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from evertoken import HttpResponse, TokenRequest, TokenUnavailable, mangopay
from tests.kits.pages import text_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
OWN_SIMULATOR = EXAMPLES / "own_simulator.py"
OWN_DRIVER = EXAMPLES / "own_driver.py"


def test_the_simulator_of_ones_own_comes_to_the_same_end_under_any_hash_seed() -> None:
    told = subprocess.run(
        [sys.executable, str(OWN_SIMULATOR), "11"],
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    ).stdout
    assert told == f"{runpy.run_path(str(OWN_SIMULATOR))['simulate'](11)}\n"  # Under a hash seed of this process.
    found = re.fullmatch(
        r"seed 11: (\d+) payments, (\d+) turned away, (\d+) token requests, (\d+) restarts, (\d+) states,"
        r" history [0-9a-f]{12}\n",
        told,
    )
    assert found is not None, told
    paid, turned_away, requests, restarts, states = map(int, found.groups())
    assert paid > turned_away > 0
    assert requests > 50
    assert restarts >= 2
    assert states > 500


def test_the_simulator_of_ones_own_notices_a_payment_with_an_expired_token() -> None:
    simulator = runpy.run_path(str(OWN_SIMULATOR))["Simulator"]
    simulator.lifetime = 50  # The endpoint says 60.
    with pytest.raises(AssertionError, match="a payment carries an expired token"):
        simulator(11).run()


def test_the_driver_of_ones_own_serves_every_thread_with_one_request(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(OWN_DRIVER), run_name="__main__")
    assert capsys.readouterr().out == "1600 of 1600 calls have a token, 1 token request(s)\n"


def test_the_driver_of_ones_own_goes_on_with_a_live_token_and_outlasts_a_failure() -> None:
    answers = queue.SimpleQueue[HttpResponse | OSError]()
    asked = queue.SimpleQueue[TokenRequest]()

    def send(request: TokenRequest) -> HttpResponse:
        asked.put(request)
        answer = answers.get(timeout=20)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def grant_of(token: str) -> HttpResponse:
        body = f'{{"access_token": "{token}", "token_type": "bearer", "expires_in": 3600}}'
        return HttpResponse(200, (), body.encode())

    driver = runpy.run_path(str(OWN_DRIVER))
    now = itertools.count(1_000.0, 0.001)
    start = [0.0]
    driver["Tokens"].authorization.__globals__["time"] = SimpleNamespace(monotonic=lambda: start[0] + next(now))
    tokens = driver["Tokens"](mangopay.sandbox(client_id="demo", api_key="made-up"), send)
    answers.put(OSError("down"))
    answers.put(grant_of("first"))
    with pytest.raises(TokenUnavailable, match="OSError"):
        tokens.authorization(timeout=0.1)  # The next try lies further ahead than this caller can wait.
    start[0] += 5.0
    assert tokens.authorization() == "Bearer first"
    assert [asked.get(timeout=20).id, asked.get(timeout=20).id] == [1, 2]
    start[0] += 3_580.0  # The next one is due, and is asked for beside the callers.
    assert tokens.authorization() == "Bearer first"
    assert asked.get(timeout=20).id == 3
    assert tokens.authorization() == "Bearer first"
    answers.put(grant_of("second"))
    start[0] += 20.0
    assert tokens.authorization() == "Bearer second"


@pytest.mark.parametrize(("example", "first"), [("own_driver.py", "class Tokens:"), ("one_generator.py", "Steps =")])
def test_the_documentation_shows_the_drivers_as_they_stand(example: str, first: str) -> None:
    text = (EXAMPLES / example).read_text(encoding="utf-8")
    shown = text[text.index(first) : text.index("def main()")].rstrip()
    assert f"{shown}\n```" in text_of("embedding")
