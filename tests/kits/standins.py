"""As much of FastAPI and Celery as the examples of the documentation use, for where these are not installed.

The stand-ins keep what is registered, and let a test do what the framework would: nothing more is claimed of them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from types import ModuleType, SimpleNamespace
from typing import Any, NoReturn, Self

import pytest

__all__ = ("Celery", "FastAPI", "Retry", "TestClient", "install")


@dataclass
class JSONResponse:
    """An answer with a body in JSON."""

    content: object
    status_code: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise what FastAPI would raise for what is no JSON."""
        json.dumps(self.content)


View = Callable[..., Awaitable[JSONResponse]]


@dataclass
class Request:
    """A request, which knows its application."""

    app: FastAPI


class FastAPI:
    """Routes and handlers of exceptions, and a lifespan around all calls."""

    def __init__(self, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> None:
        self.lifespan = lifespan
        self._routes: dict[str, View] = {}
        self._handlers: dict[type[Exception], View] = {}
        self.state = SimpleNamespace()

    def get(self, path: str) -> Callable[[View], View]:
        """Register a route."""
        return lambda view: self._routes.setdefault(path, view)

    def exception_handler(self, kind: type[Exception]) -> Callable[[View], View]:
        """Register what answers when a view raises ``kind``."""
        return lambda handler: self._handlers.setdefault(kind, handler)

    def answers(self, path: str, times: int) -> list[JSONResponse]:
        """What so many calls at once are answered, in one life of the application."""

        async def life() -> list[JSONResponse]:
            async with self.lifespan(self):
                return await asyncio.gather(*(self.answer(path) for _ in range(times)))

        return asyncio.run(life())

    async def answer(self, path: str) -> JSONResponse:
        """What one call is answered, within a life of the application."""
        request, view = Request(self), self._routes[path]
        try:
            return await (view(request) if signature(view).parameters else view())
        except Exception as error:
            for kind, handler in self._handlers.items():
                if isinstance(error, kind):
                    return await handler(request, error)
            raise


class TestClient:
    """Calls of an application, in one life of it."""

    __test__ = False

    def __init__(self, app: FastAPI) -> None:
        self._app, self._life, self._runner = app, app.lifespan(app), asyncio.Runner()

    def __enter__(self) -> Self:
        """Start the application."""
        self._runner.run(self._life.__aenter__())
        return self

    def __exit__(self, *ended: object) -> None:
        """End it, whatever its caller raised."""
        self._runner.run(self._life.__aexit__(None, None, None))
        self._runner.close()

    def get(self, path: str) -> JSONResponse:
        """What one call is answered."""
        return self._runner.run(self._app.answer(path))


class Retry(Exception):
    """The job is to be run again, ``when`` seconds from now."""

    def __init__(self, when: float) -> None:
        super().__init__(when)
        self.when = when


class Celery:
    """Tasks that run where they are called."""

    def __init__(self, name: str, broker: str) -> None:
        self.name, self.broker = name, broker

    def task(self, *, bind: bool, max_retries: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a task. ``bind``: it gets itself as its first argument."""
        assert bind
        assert max_retries > 0
        return lambda work: partial(work, SimpleNamespace(retry=self._retry))

    def _retry(self, *, exc: Exception, countdown: float) -> NoReturn:
        raise Retry(countdown) from exc


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``import fastapi`` and ``import celery`` find these, for as long as a test runs."""
    for name, things in _MODULES.items():
        module = ModuleType(name)
        vars(module).update({thing.__name__: thing for thing in things})
        monkeypatch.setitem(sys.modules, name, module)


_MODULES: dict[str, tuple[type, ...]] = {
    "celery": (Celery,),
    "fastapi": (FastAPI, Request),
    "fastapi.responses": (JSONResponse,),
    "fastapi.testclient": (TestClient,),
}
