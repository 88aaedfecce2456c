"""What gevent patches, and what POSIX alone has, is looked up when it is used.

gevent replaces classes and functions of these modules, and with ``gunicorn -k gevent --preload`` it does so after ours
were imported. A name that was bound at import is the unpatched one for ever: the whole worker stands still with it.
"""

from __future__ import annotations

import ast

import pytest

from tests.kits.source_tree import TRANSPORTS, Module, modules

TRANSPORT_MODULES = modules(TRANSPORTS)

PATCHED = {
    "_thread",
    "os",
    "queue",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}
"""Modules in which gevent puts other things in place (``gevent.monkey.patch_all``)."""

POSIX_ALONE = {"fcntl", "grp", "posix", "pwd", "pty", "resource", "termios", "tty"}


@pytest.mark.parametrize("module", TRANSPORT_MODULES, ids=lambda module: module.name)
def test_nothing_that_gevent_patches_is_imported_by_name(module: Module) -> None:
    bound = [
        f"from {node.module} import {', '.join(alias.name for alias in node.names)}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in PATCHED
    ]
    assert not bound


@pytest.mark.parametrize("module", TRANSPORT_MODULES, ids=lambda module: module.name)
def test_nothing_that_gevent_patches_is_a_base_class_or_a_default(module: Module) -> None:
    """Either binds it at import as well. gevent leaves clocks alone; and the test kit's own loop is not gevent's."""
    kept = {ast.unparse(each) for each in _bound_at_import(module.tree) if _root(each) in PATCHED}
    kit = {"selectors.DefaultSelector"} if module.name == "evertoken_transports.testing._loops" else set[str]()
    assert not kept - {"time.monotonic", "time.time"} - kit


@pytest.mark.parametrize("module", TRANSPORT_MODULES, ids=lambda module: module.name)
def test_nothing_of_posix_alone_is_imported_at_module_level(module: Module) -> None:
    names = {
        name
        for node in module.tree.body
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not names & POSIX_ALONE


def _bound_at_import(tree: ast.Module) -> list[ast.expr]:
    found: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found += node.bases
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [each for each in (*node.args.defaults, *node.args.kw_defaults) if each is not None]
    return found


def _root(expression: ast.expr) -> str:
    while isinstance(expression, ast.Attribute | ast.Call | ast.Subscript):
        expression = expression.func if isinstance(expression, ast.Call) else expression.value
    return expression.id if isinstance(expression, ast.Name) else ""
