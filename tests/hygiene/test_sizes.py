"""A function does one thing. How long a file is, is for its readers to judge: a file holds one idea."""

from __future__ import annotations

import ast

from tests.kits.source_tree import CORE, TRANSPORTS, modules

LONGEST_FUNCTION = 60


def test_a_function_does_one_thing() -> None:
    lengths = {
        f"{module.name}.{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for module in modules(CORE, TRANSPORTS)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert lengths
    assert not {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION}
