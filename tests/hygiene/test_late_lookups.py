"""What gevent patches, and what POSIX alone has, is looked up when it is used.

gevent replaces classes and functions of these modules, and with ``gunicorn -k gevent --preload`` it does so after ours
were imported. A name that was bound at import is the unpatched one for ever: the whole worker stands still with it.
"""

from __future__ import annotations

import ast

from tests.kits.source_tree import TRANSPORTS, modules

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


def test_nothing_that_gevent_patches_is_imported_by_name() -> None:
    assert not [
        f"{module.name}: from {node.module} import {', '.join(alias.name for alias in node.names)}"
        for module in TRANSPORT_MODULES
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in PATCHED
    ]


def test_nothing_that_gevent_patches_is_a_base_class_or_a_default() -> None:
    """Either binds it at import as well. gevent leaves clocks alone; and the test kit's own loop is not gevent's."""
    kept = {
        (module.name, ast.unparse(each))
        for module in TRANSPORT_MODULES
        for each in _bound_at_import(module.tree)
        if _root(each) in PATCHED and ast.unparse(each) not in ("time.monotonic", "time.time")
    }
    assert kept == {("evertoken_transports.testing._loops", "selectors.DefaultSelector")}


def test_nothing_of_posix_alone_is_imported_at_module_level() -> None:
    imported = {
        (module.name, name)
        for module in TRANSPORT_MODULES
        for node in module.tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    assert not {(module, name) for module, name in imported if name in POSIX_ALONE}


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
