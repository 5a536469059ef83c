"""``python -m tests.benchmarks``, from the root of the repository: measure, keep the results, write the page.

Every run prints its tables. A full one also writes ``results/latest.json`` and ``docs/benchmarks.md``; a partial one
(``--quick``, ``--only``, few rounds) writes ``results/partial.json`` only, so that it never replaces better figures.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import report
from .children import ROOT
from .peers import ROSTER, SUBJECT

RESULTS = Path(__file__).parent / "results"
LATEST = RESULTS / "latest.json"
PARTIAL = RESULTS / "partial.json"
PAGE = ROOT / "docs" / "benchmarks.md"

NAMES = ("one-at-a-time", "64-in-flight", "memory", "import")
NEEDED = ("orjson", "picows", "uvloop")
"""What the harness itself imports, beside the peers."""

FULL_ROUNDS = 15
QUICK_ROUNDS = 3
SEED = 6455


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status: 0 done, 1 wsrpc failed, 2 cannot run."""
    wanted = _parser().parse_args(arguments)
    if wanted.report:
        return _write_page()
    if missing := _missing():
        return _refuse(f"not installed: {', '.join(missing)}. They come with: pip install -e .[bench]")
    result = _measure(wanted)
    return _publish(result, full=_is_full(wanted))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="wsrpc beside its peers.")
    parser.add_argument("--quick", action="store_true", help="a look in under a minute: few rounds, fewer queries")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds ({FULL_ROUNDS}; with --quick {QUICK_ROUNDS})")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=NAMES, help=f"some of: {', '.join(NAMES)}")
    parser.add_argument("--report", action="store_true", help="write docs/benchmarks.md anew from the latest results")
    return parser


def _missing() -> list[str]:
    """Return the packages that have yet to be installed."""
    peers = [entry.installs for entry in ROSTER.values() if not (entry.installed() or entry.optional())]
    return [name for name in NEEDED if find_spec(name) is None] + peers


def _measure(wanted: argparse.Namespace) -> dict[str, Any]:
    from .suite import Plan, run  # needs orjson, so not before `_missing`

    plan = Plan(
        rounds=wanted.rounds or (QUICK_ROUNDS if wanted.quick else FULL_ROUNDS),
        seed=SEED,
        block_seconds=0.3 if wanted.quick else 0.4,
        memory_queries=20_000 if wanted.quick else 100_000,
        peers=tuple(name for name, entry in ROSTER.items() if entry.installed()),
    )
    return run(wanted.only or NAMES, plan, _tell)


def _is_full(wanted: argparse.Namespace) -> bool:
    enough = wanted.rounds is None or wanted.rounds >= FULL_ROUNDS
    return enough and not wanted.quick and not wanted.only


def _publish(result: dict[str, Any], *, full: bool) -> int:
    """Print the tables and keep the results; return the exit status."""
    print("\n".join(report.tables(result)))
    path = LATEST if full else PARTIAL
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if full:
        _write_page()
    return 1 if report.failed(result, SUBJECT) else 0


def _write_page() -> int:
    if not LATEST.exists():
        return _refuse("no results yet: run `make bench` first")
    page = report.document(json.loads(LATEST.read_text(encoding="utf-8")))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


def _refuse(why: str) -> int:
    print(f"benchmarks: {why}", file=sys.stderr)
    return 2


def _tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
