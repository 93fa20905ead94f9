"""How a row is measured.

Both sides get the same inputs and are called once before anything is timed: for jaxinfo, that call
compiles, and its time is reported apart. Then the answers are checked; a wrong answer has no speed.
Then the two take turns, so that a busy machine is busy for both. A turn is a pause, in which OpenMP's
threads of the other side stop spinning; calls that are not timed, until the system has spread the
woken threads over the cores; and a few that are: the speed of a loop that is under way. Medians with
the range of the middle half are reported. Peak memory is that of a process of its own that makes the
inputs and calls one side, less what it held before: in the first call, which for jaxinfo compiles, and
in a second one, when the first answer is gone. Times depend on the machine: quote the ratios.
"""

import ctypes
import dataclasses
import gc
import json
import math
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Case:
    """One piece of work: both sides as functions of nothing, and what makes them agree.

    `check(ours, theirs)` raises if the answers do not agree; without a peer, `theirs` is `None`.
    `floor` is the least time in seconds that the arithmetic or the memory traffic needs, if known,
    and `floor_note` says what it counts.
    """

    ours: Callable[[], Any]
    peer: Callable[[], Any] | None
    check: Callable[[Any, Any], None]
    floor: float | None = None
    floor_note: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """A named case and who the peer is; `make(quick)` builds it, smaller when quick."""

    name: str
    peer: str
    make: Callable[[bool], Case]


ROWS: dict[str, Row] = {}
_PAUSE = 0.02  # seconds
_UNDER_WAY = 0.1  # seconds of calls, at least one, before those that are timed, and of these
_TURNS, _CALLS = 15, 5  # at most, and calls that are timed in a turn


def row(name: str, *, peer: str) -> Callable[[Callable[[bool], Case]], Callable[[bool], Case]]:
    """Register the decorated `make(quick)` as a row of the table."""

    def register(make: Callable[[bool], Case]) -> Callable[[bool], Case]:
        if name in ROWS:
            raise ValueError(f"There is a benchmark named {name!r} already.")
        ROWS[name] = Row(name, peer, make)
        return make

    return register


def measure(row: Row, *, quick: bool) -> dict[str, Any]:
    """Check and time one row; times in seconds, memory in MiB, unknown is `None`."""
    case = row.make(quick)
    first_call, ours = _timed(case.ours)
    theirs = None if case.peer is None else _timed(case.peer)[1]
    case.check(ours, theirs)
    sides = {"ours": case.ours} if case.peer is None else {"ours": case.ours, "peer": case.peer}
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    started, budget = time.perf_counter(), (3.0 if quick else 20.0)
    gc.collect()
    gc.disable()
    try:
        for turn in range(_TURNS):
            if turn >= 3 and time.perf_counter() - started > budget:
                break
            for side, fn in sides.items():
                times[side] += _turn(fn)
    finally:
        gc.enable()
    mine, other = _summary(times["ours"]), _summary(times["peer"])
    return {
        "name": row.name,
        "peer": row.peer,
        "repeats": len(times["ours"]),
        "compile_s": max(first_call - mine["median_s"], 0.0),
        "ours": {**mine, **peak_memory(row.name, "ours", quick)},
        "theirs": None if case.peer is None else {**other, **peak_memory(row.name, "peer", quick)},
        "ratio": None if case.peer is None else other["median_s"] / mine["median_s"],
        "floor_s": case.floor,
        "floor_note": case.floor_note,
    }


def _timed(fn: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter_ns()
    result = jax.block_until_ready(fn())
    return (time.perf_counter_ns() - start) / 1e9, result


def _turn(fn: Callable[[], Any]) -> list[float]:
    time.sleep(_PAUSE)
    _calls(fn, math.inf)
    return _calls(fn, _CALLS)


def _calls(fn: Callable[[], Any], most: float) -> list[float]:
    """The seconds of each of a row of calls, at least one."""
    times = [_timed(fn)[0]]
    while len(times) < most and sum(times) < _UNDER_WAY:
        times.append(_timed(fn)[0])
    return times


def best_time(fn: Callable[[], Any]) -> float:
    """Seconds of a call that is compiled already, the best of five; for the floor of a `Case`."""
    jax.block_until_ready(fn())
    return min(_timed(fn)[0] for _ in range(5))


def _summary(times: list[float]) -> dict[str, Any]:
    if not times:
        return {}
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return {"median_s": median, "low_s": low, "high_s": high}


def peak_memory(name: str, side: str, quick: bool) -> dict[str, float | None]:
    """Peak resident memory of one side in a fresh process, in its first call and in its second."""
    command = [sys.executable, "-m", "benchmarks", "--memory-of", name, side]
    done = subprocess.run(
        command + (["--quick"] if quick else []), capture_output=True, text=True, check=False
    )
    found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else (None, None)
    return dict(zip(("peak_mib", "again_mib"), found, strict=True))


def print_peak_memory(name: str, side: str, quick: bool) -> None:
    """The other end of `peak_memory`: run in the fresh process, on Linux."""
    case = ROWS[name].make(quick)
    found = []
    for _ in range(2):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed is to count when it is taken again
        before = _kib("VmRSS")
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget the peak of what came before
        jax.block_until_ready((case.ours if side == "ours" else case.peer)())
        found.append((_kib("VmHWM") - before) / 1024)
    print(json.dumps(found))


def _kib(field: str) -> int:
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
