"""The canary sings: a test that lets a mark out fails, through whichever channel, and a clean one passes."""

from __future__ import annotations

import base64
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import canary
from tests.canary import Leak, assert_clean

ROOT = Path(__file__).resolve().parents[2]

# A suite of its own, run in a process of its own: what leaks here must not reach the canary of the test around it.
LEAKING_SUITE = '''
import logging, sys
from pathlib import Path
import evertoken, pytest
from tests import canary as marked

log = logging.getLogger("evertoken.made_up")

class Careless:
    """Named like one of ours."""
    __module__ = "evertoken.made_up"
    def __repr__(self):
        return marked.token()

class CarelessStr(Careless):
    __module__ = "evertoken.made_up"
    def __repr__(self):
        return "fine"
    def __str__(self):
        return marked.secret()

@pytest.fixture
def careless():
    yield Careless()

@pytest.fixture
def careless_str():
    yield CarelessStr()

@pytest.fixture
def chatty_setup():
    print(marked.secret())

@pytest.fixture
def chatty_teardown():
    yield
    log.info("closing %s", marked.token())

def refuse(secret):
    raise ValueError("wrong")

def test_leak_log_message():
    log.warning(f"got {marked.token()}")

def test_leak_log_argument_below_debug():
    log.log(1, "got %s", marked.token())

def test_leak_log_of_another_library():
    logging.getLogger("other").debug("sent %s", marked.secret())

def test_leak_log_that_does_not_propagate():
    logger = logging.getLogger("evertoken")
    logger.propagate = False
    try:
        logger.debug(marked.secret())
    finally:
        logger.propagate = True

def test_leak_log_extra():
    log.info("sent", extra={"body": marked.secret()})

def test_leak_log_exception():
    try:
        refuse(1)
    except ValueError as error:
        error.add_note(marked.secret())
        log.exception("failed")

def test_leak_stdout():
    print(marked.secret())

def test_leak_stderr():
    print(marked.token(), file=sys.stderr)

def test_leak_capsys(capsys):
    print(marked.token())
    assert capsys.readouterr().out

def test_leak_capfd(capfd):
    print(marked.token(), file=sys.stderr)
    assert capfd.readouterr().err

def test_leak_expected_exception():
    with pytest.raises(ValueError):
        raise ValueError(marked.secret())

def test_leak_cause_of_expected_exception():
    with pytest.raises(ValueError):
        raise ValueError("wrong") from KeyError(marked.secret())

def test_leak_local_variable_of_ours():
    ours = str(Path(evertoken.__file__).with_name("made_up.py"))
    names = {}
    exec(compile("def check(secret):\\n    raise ValueError('wrong')", ours, "exec"), names)
    with pytest.raises(ValueError):
        names["check"](marked.secret())

def test_leak_event(canary):
    canary.check(Careless())

def test_leak_repr(careless):
    pass

def test_leak_str(careless_str):
    pass

def test_leak_setup(chatty_setup):
    pass

def test_leak_teardown(chatty_teardown):
    pass

def test_clean(capsys, canary):
    grant = marked.grant()
    log.debug("with %r of %s", grant, grant)
    print(grant)
    canary.check(grant)
    assert "canary" in capsys.readouterr().out
    with pytest.raises(ValueError):
        refuse(marked.secret())

def test_clean_though_the_one_before_leaked():
    log.info("nothing")
'''

CHANNELS = re.findall(r"^def (test_\w+)", LEAKING_SUITE, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """How each test of the leaking suite ended, and the whole output under the empty name."""
    folder = tmp_path_factory.mktemp("leaking")
    (folder / "test_leaking.py").write_text(LEAKING_SUITE)
    command = [sys.executable, "-m", "pytest", "-p", "tests.canary_plugin", "-p", "no:cacheprovider", "-rfEpw"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    run = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(folder), "--show-capture=no", str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    ends = re.findall(r"^(PASSED|FAILED|ERROR) \S*::(\w+)", run.stdout, flags=re.MULTILINE)
    assert ends, run.stdout + run.stderr
    # A test that passed and leaked while its fixtures closed is counted twice: the error is what matters.
    return {"": run.stdout} | {name: end for end, name in sorted(ends, key=lambda pair: pair[0] != "PASSED")}


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_leak_fails_its_test_and_no_other(channel: str, outcomes: dict[str, str]) -> None:
    expected = {"PASSED"} if channel.startswith("test_clean") else {"FAILED", "ERROR"}
    assert outcomes[channel] in expected


def test_the_report_of_a_leak_says_where_it_was(outcomes: dict[str, str]) -> None:
    assert "a token in a log record of evertoken.made_up at WARNING" in outcomes[""]
    assert "a secret in Captured stdout call" in outcomes[""]
    assert "a token in the repr or str of a living Careless" in outcomes[""]


@pytest.mark.parametrize("client_id", ["a", "ab", "abc"])
def test_a_mark_is_found_inside_a_basic_header(client_id: str) -> None:
    header = base64.b64encode(f"{client_id}:{canary.secret()}".encode()).decode()
    assert canary.find_marks(f"Basic {header}") == ["a secret"]


@pytest.mark.parametrize("text", [canary.token().upper(), canary.token().encode(), f"Bearer {canary.token(3)}"])
def test_a_mark_is_found_in_any_case_and_in_bytes(text: str | bytes) -> None:
    assert canary.find_marks(text) == ["a token"]


def test_text_without_a_mark_is_clean() -> None:
    assert_clean("canary", b"canary", base64.b64encode(b"canary:another secret"), ValueError("canary"), None)


class Holder:
    """Shows nothing, and is pickled whole."""

    def __init__(self) -> None:
        self.held = canary.secret()


def test_a_pickle_is_searched() -> None:
    assert pickle.loads(pickle.dumps(Holder())).held == canary.secret()
    with pytest.raises(Leak, match="a secret in the pickle of a Holder"):
        assert_clean(Holder())


def test_a_grant_is_clean() -> None:
    assert_clean(canary.grant())
