"""The rows that need a process of their own: ``python -m tests.loops.child WAY``, cells on standard input, as JSON.

What came of each cell goes to standard output as soon as it is known, a line of JSON each: nothing, or the traceback.
"""

from __future__ import annotations

import sys
from importlib import import_module

if sys.argv[1:] == ["gevent patched first"]:
    import_module("gevent.monkey").patch_all()

import json
import os
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from tests.loops.columns import COLUMNS, App, Face, app_for, carry_out
from tests.loops.endpoint import Place, RemoteJudge
from tests.loops.kits import Kit, ThreadKit
from tests.loops.rows import KITS

if sys.argv[1:] == ["gevent patched late"]:
    # As under `gunicorn -k gevent --preload`: everything is imported when the worker patches. gevent warns of that.
    import_module("evertoken_transports.h11")
    import_module("evertoken_transports.threads")
    warnings.simplefilter("ignore")
    import_module("gevent.monkey").patch_all()


def main(way: str, given: str, told: int) -> None:
    """Carry out the cells ``given``, and tell the descriptor ``told`` what came of each."""
    work = _carried_out_in_a_fork if way == "a forked child" else _carried_out
    kits: dict[str, Callable[[], Kit]] = {
        **KITS,
        "threads": lambda: ThreadKit(has_daemons=way != "a subinterpreter"),
    }
    for kit, *cell in json.loads(given):
        os.write(told, f"{json.dumps(work(kits[kit](), *cell))}\n".encode())


def _app(kit: Kit, face: Face, column: str, place: dict[str, str]) -> App:
    where = Place(**place)
    return app_for(column, kit, face, where, RemoteJudge(where))


def _carried_out(kit: Kit, face: Face, column: str, place: dict[str, str]) -> str:
    return _result_of(lambda: carry_out(column, _app(kit, face, column, place)))


def _carried_out_in_a_fork(kit: Kit, face: Face, column: str, place: dict[str, str]) -> str:
    """The application is made here, and what has a second part has its first part here; the rest is the child's."""
    apps: list[App] = []
    *before, last = COLUMNS[column]

    def begin() -> None:
        apps.append(_app(kit, face, column, place))
        for part in before:
            apps[0].run(part)

    if result := _result_of(begin):
        return result
    (app,) = apps
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, _result_of(lambda: app.run(last)).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as told:  # noqa: PTH123 (a descriptor)
        result = told.read()
    os.wait()
    return result


def _result_of(work: Callable[[], None]) -> str:
    try:
        work()
    except BaseException:  # noqa: BLE001 (the test shows it)
        return traceback.format_exc()
    return ""


def _in_an_interpreter(given: str) -> None:
    """Run ``main`` in an isolated interpreter beside this one."""
    code = "from tests.loops import child; child.main('a subinterpreter', given, 1)"
    interpreters: Any
    if sys.version_info >= (3, 13):
        interpreters = import_module("_interpreters")
        failure = interpreters.exec(interpreters.create("isolated"), code, {"given": given})
        if failure is not None:
            raise RuntimeError(failure.formatted)
    else:
        interpreters = import_module("_xxsubinterpreters")
        interpreters.run_string(interpreters.create(isolated=True), code, {"given": given})


if __name__ == "__main__":
    if sys.argv[1] == "a subinterpreter":
        _in_an_interpreter(sys.stdin.read())
        os._exit(0)  # Python 3.12.1 crashes where it takes down an interpreter that has imported ssl.
    else:
        main(sys.argv[1], sys.stdin.read(), sys.stdout.fileno())
