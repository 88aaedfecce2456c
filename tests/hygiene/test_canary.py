"""The canary sings: a test that lets a mark out fails, through whichever channel, and a clean one passes."""

from __future__ import annotations

import base64
import os
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.kits import canary
from tests.kits.canary import Leak, assert_clean
from tests.kits.spellings import ENCODERS, Encoder

ROOT = Path(__file__).resolve().parents[2]

# A suite of its own, run in a process of its own: what leaks here must not reach the canary of the test around it.
LEAKING_SUITE = '''
import logging, sys
from pathlib import Path
import evertoken, pytest
from tests.kits import canary as marked

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

class Secretive:
    __module__ = "evertoken_transports.made_up"
    def __reduce__(self):
        return str, (marked.secret(),)

@pytest.fixture
def secretive_event():
    return Secretive()

@pytest.fixture
def careless_event():
    # Not alive as far as the search for survivors goes: its type is not ours.
    return type("Event", (), {"__repr__": lambda self: marked.token()})()

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

def test_leak_event(careless_event):
    from evertoken_transports import _events
    _events.log(careless_event)

def test_leak_in_the_pickle_of_an_event(secretive_event):
    log.debug("%s", secretive_event)

def test_leak_shown_to_the_canary(canary):
    canary.check(marked.token())

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

SUITE = re.findall(r"^def (test_\w+)", LEAKING_SUITE, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What pytest has against each test of the leaking suite: nothing, or the text of its failures and errors."""
    folder = tmp_path_factory.mktemp("leaking")
    (folder / "test_leaking.py").write_text(LEAKING_SUITE)
    plugins = ["-p", "tests.kits.canary_plugin", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, "-c", os.devnull, "--junitxml=report.xml", str(folder)],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        cwd=folder,
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    found: dict[str, str] = {}
    for case in ET.parse(folder / "report.xml").iter("testcase"):
        texts = [complaint.text or "" for complaint in case]
        found[case.attrib["name"]] = found.get(case.attrib["name"], "") + "".join(texts)
    return found


@pytest.mark.parametrize("channel", [name for name in SUITE if name.startswith("test_leak")])
def test_a_leak_fails_its_test(channel: str, complaints: dict[str, str]) -> None:
    assert complaints[channel].startswith("The canary got out:\n")


@pytest.mark.parametrize("clean", [name for name in SUITE if name.startswith("test_clean")])
def test_a_clean_test_passes(clean: str, complaints: dict[str, str]) -> None:
    assert complaints[clean] == ""


def test_the_report_of_a_leak_says_where_it_was(complaints: dict[str, str]) -> None:
    assert complaints["test_leak_log_message"].endswith("a token in a log record of evertoken.made_up at WARNING")
    assert complaints["test_leak_stdout"].endswith("a secret in Captured stdout call")
    assert complaints["test_leak_repr"].endswith("a token in the repr or str of a living Careless")


@pytest.mark.parametrize("client_id", ["a", "ab", "abc"])
def test_a_mark_is_found_inside_a_basic_header(client_id: str) -> None:
    header = base64.b64encode(f"{client_id}:{canary.secret()}".encode()).decode()
    assert canary.find_marks(f"Basic {header}") == ["a secret"]


@pytest.mark.parametrize("text", [canary.token().upper(), canary.token().encode(), f"Bearer {canary.token(3)}"])
def test_a_mark_is_found_in_any_case_and_in_bytes(text: str | bytes) -> None:
    assert canary.find_marks(text) == ["a token"]


@pytest.mark.parametrize("encode", ENCODERS.values(), ids=ENCODERS)
def test_a_mark_is_found_in_every_spelling(encode: Encoder) -> None:
    assert canary.find_marks(f"you sent {encode(canary.secret())} to us") or encode(canary.SECRET_MARK) in LAYERED


LAYERED = [encode(canary.SECRET_MARK) for name, encode in ENCODERS.items() if "Base64, " in name]
"""Those with more than one layer, or broken up. The tests of the scrubber know what to look for."""


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
    with pytest.raises(Leak, match="a secret in the vars of a Holder"):
        assert_clean(Holder())


@dataclass
class Record:
    """Shows nothing, and is taken apart by its fields."""

    held: str = field(repr=False)


def test_the_fields_of_a_dataclass_are_searched() -> None:
    with pytest.raises(Leak, match="a secret in the asdict of a Record"):
        assert_clean(Record(canary.secret()))


def test_a_grant_is_clean() -> None:
    assert_clean(canary.grant())
