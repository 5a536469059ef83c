"""Every example is run as a person runs it, in a process of its own, and must leave nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
HANG = 50.0  # seconds after which something hangs; pytest's own limit would end all tests

TESTED = {"aria2.py", "chat_protocol.py", "image_filter.py", "notebook.ipynb", "queries_and_pushes.py"}

EXECUTE_NOTEBOOK = """
import sys
import nbclient
import nbformat

notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, kernel_name="python3", timeout=30).execute()
nbformat.write(notebook, sys.argv[2])
"""

Run = Callable[..., str]


def run_python(*arguments: Any, folder: Path, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with the package of this tree and temporary files in that folder."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PYTHONPATH": os.pathsep.join(paths), "TMPDIR": folder, **variables}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {name: str(value) for name, value in own.items()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs an example; gives what it printed."""

    def run_example(name: str, **variables: Any) -> str:
        # Warnings are errors here too: what was not closed would be printed.
        done = run_python("-W", "error", EXAMPLES / name, folder=tmp_path, **variables)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert list(tmp_path.iterdir()) == [], "it left files behind"
        return done.stdout

    return run_example


def test_every_example_is_tested_and_listed() -> None:
    found = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    listed = set(re.findall(r"^\| \[([\w.]+)\]\(\1\) \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE))
    assert found == TESTED
    assert listed == TESTED


def test_chat_protocol_collects_messages_and_reflects_bytes(run: Run) -> None:
    reflected = "the endpoint has its bytes back: b'are you there?'"
    assert run("chat_protocol.py").splitlines() == [
        f"before any post: {[reflected]}",
        f"after two posts: {[reflected, 'hello, this is ann', 'is bob here?']}",
    ]


def test_queries_and_pushes_do_not_mix(run: Run) -> None:
    lines = run("queries_and_pushes.py").splitlines()
    assert lines[:5] == [
        f"pushed: {celsius} degrees Celsius; asked: that is {fahrenheit} degrees Fahrenheit"
        for celsius, fahrenheit in [(20, 68.0), (21, 69.8), (22, 71.6), (23, 73.4), (24, 75.2)]
    ]
    slow = re.fullmatch(r"asked: the offset is 0.5 degrees; (\d+) temperatures were pushed meanwhile", lines[5])
    assert slow is not None
    assert int(slow[1]) > 0
    assert lines[6].startswith("asked wrongly: Invalid params: ")
    waiting = re.fullmatch(r"still waiting to be read: (\d+); dropped: 0", lines[7])
    assert waiting is not None
    assert int(waiting[1]) >= int(slow[1])
    assert len(lines) == 8


def test_image_filter_smooths_the_image(run: Run) -> None:
    lines = run("image_filter.py").splitlines()
    sent, came_back = lines[1:21], lines[23:43]
    assert (lines[0], lines[22]) == ("sent:", "came back:")
    assert {len(row) for row in sent + came_back} == {72}
    assert sent != came_back
    assert set(came_back[10][30:42]) <= set("%@"), "the middle of the disk is bright"
    assert set(came_back[0]) <= set(" ."), "outside of it it is dark"
    noise = re.fullmatch(r"noise inside the disk: (\d\.\d+) before, (\d\.\d+) after", lines[-2])
    assert noise is not None
    assert float(noise[2]) < float(noise[1]) / 3
    assert lines[-1] == "the same as computed here, by Fourier transform: yes"


@pytest.mark.skipif(shutil.which("aria2c") is None, reason="aria2c is not installed (Debian: apt-get install aria2)")
def test_aria2_downloads_a_file(run: Run) -> None:
    patterns = [
        r"asked for its version: aria2 \d+\.\d+\.\d+",
        r"asked for a download: its gid is (?P<gid>[0-9a-f]{16})",
        r"pushed: aria2\.onDownloadComplete \[\{'gid': '(?P=gid)'\}\]",
        r"the file is here: 13000 bytes, as served",
        r"asked for a gid that does not exist: error 1, .*0123456789abcdef.*",
        r"asked to shut down: OK",
        r"aria2 has ended",
    ]
    printed = run("aria2.py")
    assert re.fullmatch("\n".join(patterns) + "\n", printed), printed


def test_without_aria2_its_example_says_how_to_get_it(run: Run, tmp_path: Path) -> None:
    printed = run("aria2.py", PATH=tmp_path)
    assert "there is no aria2c here" in printed
    assert "apt-get install aria2" in printed


# The notebook


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What each cell of the notebook put out, by the cell's id; executed by a real kernel."""
    folder = tmp_path_factory.mktemp("notebook")
    own = dict.fromkeys(("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"), folder)
    result = folder / "executed.ipynb"
    done = run_python("-c", EXECUTE_NOTEBOOK, EXAMPLES / "notebook.ipynb", result, folder=folder, **own)
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(result, as_version=4).cells
    return {cell.id: [_text(output) for output in cell.outputs] for cell in cells if cell.cell_type == "code"}


def _text(output: Any) -> str:
    if output.output_type == "stream":
        assert output.name == "stdout", output.text
        return str(output.text)
    assert output.output_type == "execute_result", output
    return str(output.data["text/plain"])


def test_the_notebook_is_stored_clean() -> None:
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [(cell.outputs, cell.execution_count) for cell in code] == [([], None)] * len(code)


def test_the_first_cell_gets_its_answer_though_unrelated_messages_come_before_it(
    executed: dict[str, list[str]],
) -> None:
    printed, ring = executed["query-ring"]
    unrelated = re.fullmatch(r"(\d+) unrelated messages came before the answer\n", printed)
    assert unrelated is not None
    assert int(unrelated[1]) > 0
    assert ring == "['ann', 'bob']"


def test_messages_are_there_to_take_in_their_order(executed: dict[str, list[str]]) -> None:
    (printed,) = executed["update-messages"]
    numbers = [int(number) for number in re.findall(r"^unrelated message (\d+)$", printed, re.MULTILINE)]
    assert numbers == list(range(numbers[0], numbers[0] + 5))


def test_the_second_cell_is_reachable(executed: dict[str, list[str]]) -> None:
    assert executed["query-users"] == ["{'ann': 'writing', 'bob': 'idle', 'eve': 'away'}"]
    counts, subscription = executed["numbers"]
    assert counts == "queries answered: 2\nmessages dropped: 0\n"
    assert subscription.startswith("<Subscription 'message' active received=")


def test_the_other_cells_put_nothing_out(executed: dict[str, list[str]]) -> None:
    assert [executed[cell] for cell in ("endpoint", "connect", "clean-up")] == [[], [], []]
