"""The house plan, enforced: reads the imports of every module in wsrpc/ and fails on a breach of the plan."""

import ast
import graphlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

PACKAGE = "wsrpc"
ROOT = Path(__file__).parent.parent / PACKAGE

# Floor by floor, as in docs/explanation/architecture.md. A module imports from lower floors, or from the lines above
# its own on its own floor. The modules of a line with a star may import one another, but not in a circle.
# "__init__" is the package itself: only what stands below its line may say `from wsrpc import Client`.
PLAN: tuple[tuple[str, ...], ...] = (
    ("errors",),
    (
        "options",
        "urls",
        "codec",
        "framing",
        "framing.*",
        "dialects.paths",
        "dialects.base",
        "dialects.reflect",
        "dialects.jsonrpc",
        "dialects",
    ),
    ("correlator", "subscriptions"),
    ("waiting", "loop", "outbound", "sockets", "callbacks", "connection", "dialing", "listener"),
    (
        "events",
        "dispatch",
        "websocket",
        "replies",
        "streams",
        "statistics",
        "naming",
        "incoming",
        "deadlines",
        "backpressure",
        "leg",
        "link",
        "client",
        "methods",
        "sessions",
        "server",
    ),
    ("__init__", "demo", "__main__"),
)

# What else the core may import, beside the standard library, and where.
WALLS: dict[str, tuple[str, ...]] = {
    "curio": PLAN[3],
    "orjson": ("codec",),
    "wsproto": ("framing", "framing.*"),
}

# Bytes, messages and `now` come in, bytes and events go out.
PURE_FLOORS = (0, 1, 2)
IMPURE = {"_thread", "asyncio", "select", "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time"}

# One line of PLAN covers the package framing/ as it does the file framing.py: to the plan they are one.
SAME_LINE = {"framing.*": "framing"}


@dataclass(frozen=True)
class Import:
    """One imported module: its name within the package ("dialects.base"), or its full name from elsewhere."""

    name: str
    ours: bool
    line: int


def module_names(root: Path) -> dict[str, Path]:
    """Every module of the package by its name within it; the package's own is `__init__`."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return names


def place(module: str) -> tuple[int, int] | None:
    """The floor of a module and its line there, or None where the plan does not name it."""
    for floor, entries in enumerate(PLAN):
        for entry in entries:
            if fnmatchcase(module, entry):
                return floor, entries.index(SAME_LINE.get(entry, entry))
    return None


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def import_nodes(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """All imports below a node, those inside functions included, those for type checkers only left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and is_type_checking(child.test):
            for other in child.orelse:
                yield from import_nodes(ast.Module(body=[other], type_ignores=[]))
        else:
            yield from import_nodes(child)


def absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The full name of what an import takes its names from."""
    if not node.level:
        return node.module or ""
    inside = [] if module == "__init__" else module.split(".")
    up = node.level - 1 if is_package else node.level
    base = [PACKAGE, *inside][: len(inside) + 1 - up]
    return ".".join([*base, *filter(None, [node.module])])


def imports_of(source: str, module: str, known: set[str], is_package: bool = False) -> list[Import]:
    """What a module imports."""
    found = []
    for node in import_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            origin = absolute(node, module, is_package)
            targets = [f"{origin}.{alias.name}" if origin.split(".")[0] == PACKAGE else origin for alias in node.names]
        for target in targets:
            head, _, rest = target.partition(".")
            name = ours_named(rest, known) if head == PACKAGE else target
            found.append(Import(name, head == PACKAGE, node.lineno))
    return list(dict.fromkeys(found))


def ours_named(dotted: str, known: set[str]) -> str:
    """The module that a dotted name within the package leads to: `errors.WsrpcError` is in `errors`."""
    while dotted and dotted not in known:
        dotted = dotted.rpartition(".")[0]
    return dotted or "__init__"


def breaches(module: str, imports: list[Import]) -> list[str]:
    """What a module's imports do against the plan."""
    here = place(module)
    if here is None:
        return [f"{module}: not in the plan; add it to PLAN in {Path(__file__).name}, and to the architecture's page"]
    found = []
    for item in imports:
        complaint = breach_inside(module, here, item.name) if item.ours else breach_outside(module, here, item.name)
        if complaint:
            found.append(f"{module}, line {item.line}: imports {item.name}: {complaint}")
    return found


def breach_inside(module: str, here: tuple[int, int], name: str) -> str | None:
    there = place(name)
    if there is None:
        return "which is not in the plan"
    if name == module:
        return "which is itself"
    if there > here:
        return f"from a higher floor ({there[0]} > {here[0]})" if there[0] > here[0] else "from below it on its floor"
    return None


def breach_outside(module: str, here: tuple[int, int], name: str) -> str | None:
    top = name.split(".")[0]
    if top in WALLS:
        allowed = any(fnmatchcase(module, entry) for entry in WALLS[top])
        return None if allowed else f"which only {', '.join(WALLS[top])} may"
    if here[0] in PURE_FLOORS and (top in IMPURE or name == "concurrent.futures"):
        return f"floors {PURE_FLOORS[0]}-{PURE_FLOORS[-1]} know no socket, thread, sleep or clock"
    if top not in sys.stdlib_module_names:
        return f"the core needs {', '.join(WALLS)} and nothing else"
    return None


def is_face(node: ast.stmt) -> bool:
    """Whether a statement may stand in the package's `__init__.py`: imports, `__all__`, `__version__`, laziness."""
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.If(test=test, body=body, orelse=[]) if is_type_checking(test):
            return all(isinstance(item, ast.Import | ast.ImportFrom) for item in body)
        case ast.Assign(targets=[ast.Name(id="__all__" | "__version__")]):
            return True
        case ast.AnnAssign(target=ast.Name(id="__all__" | "__version__")):
            return True
        case ast.FunctionDef(name="__getattr__" | "__dir__"):
            return True
    return False


MODULES = module_names(ROOT)


def imports_in(module: str) -> list[Import]:
    path = MODULES[module]
    return imports_of(path.read_text(encoding="utf-8"), module, set(MODULES), path.name == "__init__.py")


def test_there_is_a_package() -> None:
    assert "__init__" in MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_plan(module: str) -> None:
    assert not (found := breaches(module, imports_in(module))), "\n".join(found)


def test_no_imports_in_a_circle() -> None:
    graph = {module: {item.name for item in imports_in(module) if item.ours} for module in MODULES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("imports in a circle: " + " <- ".join(error.args[1]), pytrace=False)


@pytest.mark.parametrize("module", MODULES)
def test_has_a_docstring_of_its_own(module: str) -> None:
    docstrings = {name: ast.get_docstring(ast.parse(path.read_text("utf-8"))) for name, path in MODULES.items()}
    mine = docstrings.pop(module)
    assert mine, f"{module} has no docstring: its job, its rules, what it must never do"
    assert mine not in docstrings.values(), f"{module} has the docstring of another module"


def test_the_package_itself_is_only_a_face() -> None:
    body = ast.parse(MODULES["__init__"].read_text("utf-8")).body[1:]  # the docstring has a test of its own
    odd = [f"line {node.lineno}: {ast.unparse(node)}" for node in body if not is_face(node)]
    assert not odd, "wsrpc/__init__.py holds public names and nothing else:\n" + "\n".join(odd)


# The rules above, broken on purpose: a check that cannot fail checks nothing.
@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("codec", "from wsrpc.correlator import Correlator", "higher floor"),
        ("codec", "def f():\n    from .loop import run", "higher floor"),
        ("codec", "from . import client", "higher floor"),
        ("urls", "from .codec import decode", "below it"),
        ("dialects.base", "from .reflect import Reflect", "below it"),
        ("dialects.base", "from .. import server", "higher floor"),
        ("framing", "import wsrpc", "higher floor"),
        ("client", "from wsrpc import __version__", "higher floor"),
        ("client", "import curio", "which only"),
        ("connection", "from wsproto.events import Ping", "which only"),
        ("dialects.jsonrpc", "import orjson", "which only"),
        ("correlator", "from threading import Lock", "no socket"),
        ("subscriptions", "import time", "no socket"),
        ("framing.headers", "import socket", "no socket"),
        ("correlator", "from concurrent.futures import Future", "no socket"),
        ("server", "import numpy", "nothing else"),
        ("utils", "", "not in the plan"),
        ("codec", "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    import time", "no socket"),
        ("codec", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import time", "no socket"),
    ],
)
def test_a_breach_is_found(module: str, source: str, complaint: str) -> None:
    found = breaches(module, imports_of(source, module, planned()))
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("connection", "import curio.socket\nimport ssl, threading, time"),
        ("framing.headers", "from wsproto.connection import Connection\nfrom .. import errors\nfrom . import buffers"),
        ("dialects.jsonrpc", "from .base import Dialect\nfrom ..errors import RemoteError\nfrom wsrpc import codec"),
        ("codec", "import typing\nif typing.TYPE_CHECKING:\n    from wsrpc.client import Client\n    import threading"),
        ("__main__", "from wsrpc import Client\nfrom wsrpc.demo import run\nimport argparse"),
    ],
)
def test_what_the_plan_allows_is_no_breach(module: str, source: str) -> None:
    assert breaches(module, imports_of(source, module, planned())) == []


def test_relative_imports_of_a_package_are_its_own() -> None:
    found = imports_of("from .base import Dialect\nfrom ..errors import QueryError", "dialects", planned(), True)
    assert [item.name for item in found] == ["dialects.base", "errors"]


def planned() -> set[str]:
    """A package as the plan has it, with two files in framing/."""
    names = {entry for floor in PLAN for entry in floor if "*" not in entry}
    return names | {"framing.headers", "framing.buffers"}
