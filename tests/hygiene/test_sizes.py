"""A function does one thing. How long a file is, is for its readers to judge: a file holds one idea."""

from __future__ import annotations

import ast

import pytest

from tests.hygiene.source_tree import CORE, TRANSPORTS, Module, modules

LONGEST_FUNCTION = 60

EVERY_MODULE = pytest.mark.parametrize("module", modules(CORE, TRANSPORTS), ids=lambda module: module.name)


@EVERY_MODULE
def test_a_function_does_one_thing(module: Module) -> None:
    long = [
        f"{node.name}: {length} lines"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]
    assert not long
