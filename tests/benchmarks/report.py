"""The results in words and tables: ``docs/benchmarks.md``, made from the JSON alone.

Losses are printed like everything else. Each kind of result has one function that turns its object into lines.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Lines = list[str]
Result = Mapping[str, Any]

INTRODUCTION = """\
# Benchmarks

This page is written by `make bench` from `tests/benchmarks/results/latest.json`; edit `tests/benchmarks/report.py`
instead. It shows wsrpc beside other WebSocket libraries that need no `async`. Speeds differ from machine to machine,
and on one machine from minute to minute: the ratios are what counts. Run it on yours:

    make bench

"""

METHOD = """\
## How it is measured

- One echo server for all: picows on uvloop, in a process of its own, on loopback. It sends each message back as it
  came.
- The queries are JSON text of about 100 bytes with an integer id. Every peer encodes and decodes them with orjson, and
  the id of every answer is checked.
- {rounds} rounds. In a round each peer connects anew, warms up, and then asks a fixed count of queries, which takes it
  about {block_seconds:g} s; the order within a round is shuffled (seed {seed}). The garbage of one peer is collected
  and the heap frozen before the next begins.
- The tables give medians, and in brackets the quartiles. A ratio is wsrpc's rate divided by the peer's, taken within
  each round; its median is held against the target.
- All peers and the server share the cores of one machine, and no answer waits for a network: this shows what the
  libraries cost, not what a user of a distant endpoint would notice.
"""


def document(result: Result) -> str:
    """Return the whole page."""
    method = METHOD.format(**result["plan"])
    return INTRODUCTION + "\n".join([*tables(result), method, *_uses(result), *_conditions(result)]).rstrip() + "\n"


def tables(result: Result) -> Lines:
    """Return the tables of all the benchmarks in the result, with a line that counts the targets."""
    lines = [_verdict(result), ""]
    for benchmark in result["benchmarks"].values():
        lines += [f"## {benchmark['title']}", "", *KINDS[benchmark["kind"]](benchmark), ""]
    return lines


def outcomes(result: Result) -> list[bool | None]:
    """Return for every target whether it was met; ``None``: it could not be measured."""
    return [met for benchmark in result["benchmarks"].values() for met in _outcomes(benchmark)]


def _outcomes(benchmark: Result) -> list[bool | None]:
    if benchmark["kind"] == "race":
        return [ratio["met"] for ratio in benchmark["ratios"].values() if ratio["target"] is not None]
    if benchmark["kind"] == "memory":
        return [row["met"] for row in benchmark["rows"]]
    return [benchmark.get("met", False)]


def failed(result: Result, name: str) -> bool:
    """Tell whether the peer ``name`` failed in a race, or a benchmark failed as a whole."""
    benchmarks = result["benchmarks"].values()
    races = [benchmark["peers"] for benchmark in benchmarks if benchmark["kind"] == "race"]
    return any("failed" in peers.get(name, ()) for peers in races) or any(one["kind"] == "failed" for one in benchmarks)


def _verdict(result: Result) -> str:
    found = outcomes(result)
    counts = {"met": found.count(True), "missed": found.count(False), "not measured": found.count(None)}
    return f"Of {len(found)} targets: " + ", ".join(f"{count} {word}" for word, count in counts.items() if count) + "."


def _race(benchmark: Result) -> Lines:
    rows = [_race_row(name, row, benchmark["ratios"].get(name)) for name, row in benchmark["peers"].items()]
    rows += [_race_row(name, {"absent": True}, benchmark["ratios"].get(name)) for name in benchmark["absent"]]
    head = ["", "queries/s", "wsrpc is so many times as fast", "target", ""]
    return [benchmark["about"], "", *_table(head, rows)]


def _race_row(name: str, row: Result, ratio: Result | None) -> list[str]:
    if ratio is None:
        return [name, _rate(row), "", "", ""]
    target = "" if ratio["target"] is None else f"at least {ratio['target']:g}"
    if "median" not in ratio:
        return [name, _rate(row), "", target, _met(ratio["met"]) or (target and "not measured")]
    return [name, _rate(row), _spread(ratio, "{:.2f}"), target, _met(ratio["met"]) or _faster(ratio["median"])]


def _rate(row: Result) -> str:
    if "median" in row:
        return _spread(row, "{:,.0f}")
    return f"failed: {row['failed']}" if "failed" in row else "not installed"


def _memory(benchmark: Result) -> Lines:
    about = (
        f"One wsrpc client asks {benchmark['queries']:,} queries after a warm-up of {benchmark['warm_up']:,}, in an "
        f"interpreter of its own. Resident memory may grow by {benchmark['allowed_kb']:,} kB (allocators keep some "
        "pages back); threads and file descriptors may not."
    )
    head = ["", "before, kB", "after, kB", "difference, kB", "threads", "file descriptors", ""]
    return [about, "", *_table(head, [_memory_row(row) for row in benchmark["rows"]])]


def _memory_row(row: Result) -> list[str]:
    before, after = row["before"], row["after"]
    resident = [_count(before["resident_kb"]), _count(after["resident_kb"]), _count(row["growth_kb"])]
    others = [f"{_count(before[name])}, then {_count(after[name])}" for name in ("threads", "descriptors")]
    return [row["name"], *resident, *others, _met(row["met"])]


def _import(benchmark: Result) -> Lines:
    about = (
        f"In fresh interpreters, {benchmark['runs']} of each in turn. The target is that the import of wsrpc starts "
        "no thread and opens no file descriptor; its time has none."
    )
    head = ["", "ms", "threads started", "file descriptors opened", ""]
    rows = [_import_row(name, row) for name, row in benchmark["modules"].items()]
    rows[0][-1] = _met(benchmark["met"])
    ratio = benchmark["ratio"]
    ours, theirs = ratio["of"]
    return [about, "", *_table(head, rows), "", f"Time of `{ours}` / `{theirs}`: {_spread(ratio, '{:.2f}')}."]


def _import_row(name: str, row: Result) -> list[str]:
    started = [_count(row["threads_started"]), _count(row["descriptors_opened"])]
    return [f"`import {name}`", _spread(row["summary"], "{:.0f}"), *started, ""]


def _failed(benchmark: Result) -> Lines:
    return [f"**Failed**: {benchmark['error']}"]


KINDS: dict[str, Callable[[Result], Lines]] = {"race": _race, "memory": _memory, "import": _import, "failed": _failed}


def _uses(result: Result) -> Lines:
    return ["## How each library is used", "", *(f"- {name}: {how}." for name, how in result["peers"].items()), ""]


def _conditions(result: Result) -> Lines:
    machine, load = result["machine"], result["load"]
    busy = "" if load[0] is None else f" Load average {load[0]:g} before, {load[1]:g} after."
    place = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, {machine['architecture']}"
    versions = [[name, version] for name, version in result["versions"].items()]
    return ["## Where and when", "", f"{place}; {result['date']}.{busy}", "", *_table(["", "version"], versions)]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Lines:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return ["| " + " | ".join(row) + " |" for row in (head, rule, *rows)]


def _spread(values: Result, form: str) -> str:
    median, low, high = (form.format(values[name]) for name in ("median", "q1", "q3"))
    return f"{median} ({low} to {high})"


def _count(number: int | None) -> str:
    return "not told" if number is None else f"{number:,}"


def _met(met: bool | None) -> str:
    return {True: "met", False: "**missed**", None: ""}[met]


def _faster(ratio: float) -> str:
    return "no target; wsrpc is faster" if ratio >= 1 else "no target; wsrpc is slower"
