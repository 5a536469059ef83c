"""The documentation is true: its code runs and prints what it says, its links lead somewhere, its plan is the plan.

A page's ```python blocks run in order, in one namespace, in a process of their own. A ```text block right after one of
them is what it prints; `…` in it stands for anything within a line, for what differs from run to run (ports, times).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.test_architecture import PLAN

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HANG = 50.0  # seconds after which something hangs; pytest's own limit would end all tests

PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
RUN = [ROOT / "README.md", DOCS / "tutorial.md", *sorted((DOCS / "how-to").glob("*.md"))]
GENERATED = {DOCS / "benchmarks.md"}  # by `make bench`; it may be missing

FENCE = re.compile(r"^```(?P<kind>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (?P<title>.+)$", re.MULTILINE)

# Runs the blocks that come on standard input, each with the line numbers that it has on its page, and writes what each
# printed, and the error of the last one, to standard output.
RUNNER = """
import contextlib, io, json, sys, traceback
page, blocks = json.load(sys.stdin)
namespace, printed, error = {"__name__": "__main__"}, [], ""
for line, source in blocks:
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            exec(compile("\\n" * line + source, page, "exec"), namespace)
    except BaseException:
        error = traceback.format_exc()
    printed.append(out.getvalue())
    if error:
        break
json.dump([printed, error], sys.stdout)
"""


@dataclass(frozen=True)
class Block:
    """A piece of code, where its text begins, and what it must print: `None` if the page does not say."""

    line: int
    source: str
    output: str | None


def blocks_of(text: str) -> list[Block]:
    fences = list(FENCE.finditer(text))
    found = []
    for fence, following in zip(fences, [*fences[1:], None], strict=True):
        if fence["kind"].strip() != "python":
            continue
        is_output = following is not None and following["kind"] == "text"
        is_near = following is not None and not text[fence.end() : following.start()].strip()
        output = following["text"] if following is not None and is_output and is_near else None
        found.append(Block(text.count("\n", 0, fence.start("text")), fence["text"], output))
    return found


def matches(printed: str, output: str) -> bool:
    return re.fullmatch(re.escape(output).replace("…", "[^\n]*"), printed) is not None


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings, made as GitHub and MyST make them."""
    titles = [heading["title"] for heading in HEADING.finditer(FENCE.sub("", text))]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_code_runs_and_prints_what_the_page_says(page: Path, tmp_path: Path) -> None:
    blocks = blocks_of(page.read_text("utf-8"))
    assert blocks, "no code"
    assert any(block.output is not None for block in blocks), "no output"
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "utf8", "-c", RUNNER],
        input=json.dumps([name_of(page), [(block.line, block.source) for block in blocks]]),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed, error = json.loads(done.stdout)
    for block, text in zip(blocks, printed, strict=False):  # the outputs before the error are worth seeing first
        expected = block.output if block.output is not None else ""
        if not (error and text is printed[-1]):
            assert matches(text, expected), f"{name_of(page)}:{block.line}: printed\n{text}\ninstead of\n{expected}"
    assert not error, error


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    dead = []
    for link in LINK.finditer(FENCE.sub("", text)):
        path, _, anchor = link["target"].partition("#")
        if re.match(r"[a-z]+:", path):  # somebody else's
            continue
        target = (page.parent / path).resolve() if path else page
        if target in GENERATED and not target.exists():
            continue
        is_there = target.is_file() and ROOT in target.parents
        if not is_there or (anchor and anchor not in anchors_of(target.read_text("utf-8"))):
            dead.append(link["target"])
    assert dead == []


def test_every_page_is_in_the_table_of_contents() -> None:
    contents = re.findall(r"^```{toctree}\n(.*?)^```", (DOCS / "index.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    listed = {line for block in contents for line in block.splitlines() if line and not line.startswith(":")}
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in {*DOCS.rglob("*.md"), *GENERATED}}
    assert listed == pages - {"index"}


def test_the_architecture_page_has_the_plan() -> None:
    rows = re.findall(r"^\| (\d) \| `([\w.*]+)` \|", (DOCS / "explanation/architecture.md").read_text("utf-8"), re.M)
    assert rows == [(str(floor), module) for floor, modules in enumerate(PLAN) for module in modules]


def test_every_public_name_is_in_the_reference() -> None:
    import wsrpc

    text = (DOCS / "reference.md").read_text("utf-8")
    missing = [name for name in wsrpc.__all__ if not re.search(rf"wsrpc\.{name}\b", text)]
    assert missing == []


# The checks above, failing on purpose: a check that cannot fail checks nothing.


def test_blocks_are_found_with_their_outputs() -> None:
    text = "a\n```python\nx = 1\n```\n\n```text\n7\n```\n\n```python\ny\n```\nwords\n```text\nno output\n```\n"
    assert blocks_of(text) == [Block(2, "x = 1\n", "7\n"), Block(10, "y\n", None)]


@pytest.mark.parametrize(
    ("printed", "output", "same"),
    [
        ("ws://127.0.0.1:5\n", "ws://127.0.0.1:…\n", True),
        ("a\nb\n", "…\n", False),
        ("5\n", "6\n", False),
        ("5\n", "5\n5\n", False),
        ("a.b\n", "aXb\n", False),
    ],
)
def test_output_matches_exactly_but_for_the_wildcard(printed: str, output: str, same: bool) -> None:
    assert matches(printed, output) is same


def test_anchors_are_those_of_headings() -> None:
    assert anchors_of("# When to use async, and when not\n```text\n# no\n```\n") == {"when-to-use-async-and-when-not"}
