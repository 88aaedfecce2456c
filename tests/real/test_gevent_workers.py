"""``gunicorn -k gevent --preload``: gevent patches when everything of ours has been imported and made already."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.kits import canary
from tests.kits.worlds import run_in_threads, until
from tests.loops.endpoint import LIMIT, Stage
from tests.real.test_processes import ROOT, environment


@contextmanager
def gunicorn(token_server: str, folder: Path) -> Generator[httpx.Client]:
    """A client of one worker, which serves."""
    place = folder / "socket"
    options = ["-k", "gevent", "--preload", "--workers", "1", "--no-control-socket", "--bind", f"unix:{place}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "tests.real.patched_late:application"],
        cwd=ROOT,
        env=environment(TOKEN_SERVER=token_server, HOME=str(folder)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

    def serves() -> bool:
        assert process.poll() is None, "gunicorn has ended"
        with socket.socket(socket.AF_UNIX) as line, suppress(OSError):
            line.connect(str(place))
            return True
        return False

    try:
        until(serves)
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(place)), base_url="http://gunicorn", timeout=LIMIT
        ) as client:
            yield client
    finally:
        process.terminate()
        try:
            log = process.communicate(timeout=LIMIT)[1]
        finally:
            process.kill()
            process.wait()
    assert "Traceback" not in log
    assert not canary.find_marks(log)


@pytest.mark.parametrize("path", ["/source", "/httpx"])
def test_a_worker_that_was_patched_late_gets_its_token_and_serves_others_meanwhile(path: str, tmp_path: Path) -> None:
    with Stage() as stage, gunicorn(stage.place.url, tmp_path) as client:
        stage.hold()
        join = run_in_threads(20, lambda _: client.get(path).raise_for_status().text)
        until(lambda: stage.asked() == 1)
        assert client.get("/other").text == "", "the worker stands still while the token endpoint thinks"
        stage.release()
        headers = join()
        assert len(set(headers)) == 1
        assert str(headers[0]).startswith("Bearer ")
        assert stage.asked() == 1
