"""The site: Sphinx reads docs/ with MyST, and takes the reference from the docstrings. `make docs` builds it, offline.

Every warning is an error there: a broken link, a page that no list of pages names, a public name that the reference
does not explain, and a mention of one that there is not.
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Any

from docutils.nodes import Element, TextElement
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

NOT_IMPORTED = ("tools", "adapters")
"""The command, which explains itself by --help, and what needs SDKs that are not here."""

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = PROJECT["name"]
release = PROJECT["version"]
html_title = f"{project} {release}"
html_theme = "furo"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!evertoken).*"),  # Other libraries: their documentation is not at hand where this one is built.
    (r"py:class", r"evertoken\w*\.(.*\.)?_.*"),  # Types in signatures that are nobody's business, and type variables.
]

myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_mock_imports = [
    "anthropic",
    "azure",
    "confluent_kafka",
    "google",
    "grpc",
    "mcp",
    "openai",
    "pyiceberg",
]  # The SDKs of adapters.
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def where_users_find_it(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: TextElement) -> Element | None:
    """A link from where a thing is defined, say ``evertoken._policy.Policy``, to where it is imported from."""
    known: Any = env.domains.python_domain.objects
    package, _, path = str(node.get("reftarget", "")).partition(".")
    if node.get("refdomain") != "py" or not package.startswith("evertoken"):
        return None
    names = [part for part in path.split(".") if not part.startswith("_")]
    ending = "." + ".".join(names)
    fitting = [name for name in known if name.startswith(package) and name.endswith(ending)]
    if not names or len(fitting) != 1:
        return None
    found = known[fitting[0]]
    return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, content, fitting[0])


def public_names() -> Iterator[tuple[str, str]]:
    """Every name that a public module lists, by that module and by the one that defines it."""
    for folder in (ROOT / "core", ROOT / "transports"):
        for path in sorted(folder.rglob("*.py")):
            name = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
            if not any(part.startswith("_") or part in NOT_IMPORTED for part in name.split(".")):
                module = importlib.import_module(name)
                for listed in module.__all__:
                    thing = getattr(module, listed)
                    yield f"{name}.{listed}", f"{getattr(thing, '__module__', name)}.{listed}"


def nothing_is_left_out(_app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name that no page of the reference explains, there or where it is imported from."""
    known: Any = env.domains.python_domain.objects
    modules: Any = env.domains.python_domain.modules
    for here, there in public_names():
        if here not in known and there not in known and here not in modules:
            logging.getLogger("reference").warning("the reference does not explain %s", here)


@cache
def words_of_values() -> dict[str, list[tuple[str, list[str]]]]:
    """What stands below the assignments of our modules: for each name the modules that assign it, and the lines."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for folder in (ROOT / "core", ROOT / "transports"):
        for path in sorted(folder.rglob("*.py")):
            module = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
            for (owner, name), lines in ModuleAnalyzer.for_file(path, module).find_attr_docs().items():
                if not owner:
                    found.setdefault(name, []).append((module, lines))
    return found


def in_our_words(_app: Sphinx, what: str, name: str, thing: object, _options: object, lines: list[str]) -> None:
    """A value that is imported from elsewhere is explained as where it is made, and never in the words of its type."""
    last = name.rpartition(".")[2]
    for module, words in words_of_values().get(last, ()):
        if module in sys.modules and getattr(sys.modules[module], last, None) is thing:
            lines[:] = words
            return
    if what == "data" and "\n".join(lines).strip() == cleandoc(type(thing).__doc__ or ""):
        lines.clear()


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", in_our_words)
    app.connect("missing-reference", where_users_find_it)
    app.connect("env-check-consistency", nothing_is_left_out)
