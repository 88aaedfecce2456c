"""Whole processes: they end, fork, and are interrupted while a token request is under way on a real socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from tests.kits import canary
from tests.kits.adapters import KINDS, Kind
from tests.kits.worlds import LIMIT, run_in_threads, until
from tests.real.test_httpx_exchange import Server

ROOT = Path(__file__).parents[2]
# httpx2 is the same code under another name, and every process costs the better part of a second.
MOST_KINDS = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.library != "httpx2"], ids=str)
THREADS = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.runtime == "threads"], ids=str)


class Issuer:
    """A token endpoint: one token to a connection, in the order of the requests. The first can be held back."""

    def __init__(self) -> None:
        self.held_back = threading.Event()
        self.asked = threading.Semaphore(0)
        self.requests = 0
        self._lock = threading.Lock()
        self._server = Server(self._issue)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def _issue(self, line: socket.socket) -> None:
        self._server.read_request(line)
        with self._lock:
            self.requests += 1
            number = self.requests
        self.asked.release()
        if number == 1:
            self.held_back.wait()
        body = f'{{"access_token":"{canary.token(number)}","token_type":"Bearer","expires_in":1200}}'
        line.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        line.recv(1)

    def await_request(self) -> None:
        """Return once another request is there whole."""
        assert self.asked.acquire(timeout=LIMIT), "no token request came"

    def close(self) -> None:
        self.held_back.set()
        self._server.close()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.close()


def header(number: int) -> str:
    return f"Bearer {canary.token(number)}"


def environment(**more: str) -> dict[str, str]:
    """Where the process finds what this one has found."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]), **more}


class Child:
    """A process of ``tests.real.child``."""

    def __init__(self, what: str, kind: Kind, url: str) -> None:
        # Python 3.12 and later warn of every fork beside a thread: that is what is tried here.
        arguments = [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "tests.real.child", what, *kind]
        self._process = subprocess.Popen(
            [*arguments, url],
            cwd=ROOT,
            env=environment(),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def tell(self) -> None:
        """Give it the line that it waits for."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def line(self) -> str:
        """The next line that it tells."""
        pipe = self._process.stdout
        assert pipe is not None
        (line,) = run_in_threads(1, lambda _: pipe.readline())()
        return str(line).rstrip("\n")

    def ended(self) -> str:
        """What else it told. It must have ended on its own, in time, and without a complaint."""
        try:
            told, complaints = self._process.communicate(timeout=LIMIT)
        finally:
            self._process.kill()
            self._process.wait()
        assert complaints == ""
        assert self._process.returncode == 0
        return told


@contextmanager
def child(what: str, kind: Kind, url: str) -> Generator[Child]:
    made = Child(what, kind, url)
    try:
        yield made
    finally:
        with suppress(OSError, ValueError):
            made._process.kill()
        made._process.communicate()


@MOST_KINDS
def test_a_process_that_ends_in_mid_refresh_ends_at_once_and_says_nothing(kind: Kind, issuer: Issuer) -> None:
    with child("leave", kind, issuer.url) as process:
        issuer.await_request()
        process.tell()
        # The server never answers, and the request had ten minutes.
        assert process.ended() == ""
    assert issuer.requests == 1


@THREADS
def test_a_token_can_still_be_had_when_the_interpreter_is_on_its_way_out(kind: Kind, issuer: Issuer) -> None:
    issuer.held_back.set()
    with child("ask_at_exit", kind, issuer.url) as process:
        assert process.ended() == f"{header(1)}\n"


@MOST_KINDS
def test_a_child_forked_in_mid_refresh_gets_a_token_of_its_own_and_the_parent_keeps_its_answer(
    kind: Kind, issuer: Issuer
) -> None:
    with child("fork", kind, issuer.url) as process:
        issuer.await_request()
        process.tell()
        assert process.line() == header(2)  # the child's, over a connection of its own
        issuer.held_back.set()
        assert process.line() == header(1)  # the parent's, over the one that was open all the while
        assert process.ended() == ""
    assert issuer.requests == 2


@MOST_KINDS
def test_a_connection_that_the_parent_gives_up_is_over_though_a_forked_child_has_a_copy_of_it(kind: Kind) -> None:
    asked, over = threading.Event(), threading.Event()

    def wait_for_the_end(line: socket.socket) -> None:
        server.read_request(line)
        asked.set()
        with suppress(ConnectionError):
            line.recv(1)
        over.set()

    server = Server(wait_for_the_end)
    with child("fork_and_give_up", kind, f"http://127.0.0.1:{server.port}") as process:
        assert asked.wait(LIMIT)
        process.tell()
        assert over.wait(LIMIT), "the connection outlives the request"
        process.tell()
        assert process.ended() == ""
    server.close()


@MOST_KINDS
def test_a_process_that_is_interrupted_in_mid_refresh_can_go_on(kind: Kind, issuer: Issuer) -> None:
    with child("go_on", kind, issuer.url) as process:
        issuer.await_request()
        process.interrupt()
        assert process.line() == "interrupted"
        issuer.held_back.set()
        # A thread carries the request on. A task ends with its event loop.
        assert process.line() == header(1 if kind.runtime == "threads" else 2)
        assert process.ended() == ""


# ------------------------------------------------------------------------------------------------------- gunicorn


class Gunicorn:
    """``gunicorn --preload`` with two workers, on a socket in ``folder``."""

    def __init__(self, folder: Path, issuer: Issuer, *, warm: bool) -> None:
        self._socket, self._go_ahead = folder / "socket", folder / "go ahead"
        options = ["--preload", "--workers", "2", "--no-control-socket", "--bind", f"unix:{self._socket}"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *options, "tests.real.preloaded:application"],
            cwd=ROOT,
            env=environment(
                TOKEN_SERVER=issuer.url, GO_AHEAD=str(self._go_ahead), WARM="yes" if warm else "", HOME=str(folder)
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def go_ahead(self) -> None:
        """Let it fork its workers, and wait until it serves."""
        self._go_ahead.touch()
        until(self._serves)

    def _serves(self) -> bool:
        assert self._process.poll() is None, "gunicorn has ended"
        with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
            line.connect(str(self._socket))
            return True
        return False

    def headers(self) -> dict[str, str]:
        """The header that each of its two workers uses, by process id."""
        found: dict[str, str] = {}

        def both_have_answered() -> bool:
            for answer in run_in_threads(4, lambda _: self._answer())():
                worker, _, used = str(answer).partition(" ")
                assert found.setdefault(worker, used) == used
            return len(found) == 2

        until(both_have_answered)
        return found

    def _answer(self) -> str:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self._socket)), timeout=LIMIT) as client:
            return client.get("http://gunicorn/").raise_for_status().text

    def stop(self) -> str:
        """Its log."""
        self._process.terminate()
        try:
            return self._process.communicate(timeout=LIMIT)[1]
        finally:
            self._process.kill()
            self._process.wait()


@contextmanager
def gunicorn(issuer: Issuer, *, warm: bool) -> Generator[Gunicorn]:
    with TemporaryDirectory() as folder:
        made = Gunicorn(Path(folder), issuer, warm=warm)
        try:
            yield made
        finally:
            log = made.stop()
    assert "Traceback" not in log
    assert not canary.find_marks(log)


def test_workers_forked_from_a_warm_process_use_its_token(issuer: Issuer) -> None:
    issuer.held_back.set()
    with gunicorn(issuer, warm=True) as server:
        server.go_ahead()
        assert set(server.headers().values()) == {header(1)}
    assert issuer.requests == 1


def test_workers_forked_in_mid_refresh_get_a_token_each(issuer: Issuer) -> None:
    with gunicorn(issuer, warm=False) as server:
        issuer.await_request()
        server.go_ahead()
        assert set(server.headers().values()) == {header(2), header(3)}
    assert issuer.requests == 3
