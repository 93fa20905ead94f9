"""`python -m benchmarks [names] [--quick] [--json FILE]`"""

import argparse
import importlib
import importlib.metadata
import json
import os
import pathlib
import pkgutil
import platform
from typing import Any

import jax

from . import __path__ as here
from ._harness import ROWS, measure, print_peak_memory


def main() -> None:
    jax.config.update("jax_num_cpu_devices", 2)  # for the rows that divide a batch
    for module in pkgutil.iter_modules(here):
        if not module.name.startswith("_"):
            importlib.import_module(f"benchmarks.{module.name}")
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("names", nargs="*", help="beginnings of row names; default: all")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--quick", action="store_true", help="smaller inputs, fewer repeats")
    parser.add_argument("--json", type=pathlib.Path, help="also write everything measured here")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        return print_peak_memory(*arguments.memory_of, arguments.quick)
    chosen = [
        row
        for name, row in ROWS.items()
        if not arguments.names or name.startswith(tuple(arguments.names))
    ]
    if arguments.list or not chosen:
        print("\n".join(ROWS))
        return None
    print(f"{_machine()}\n\n{_HEADER}")
    results = []
    for row in chosen:
        try:
            results.append(measure(row, quick=arguments.quick))
        except ImportError as error:
            print(f"| {row.name} | {row.peer} | not installed: {error} | | | | | | |")
            continue
        print(_line(results[-1]), flush=True)
    if arguments.json:
        found = {"machine": _machine(), "quick": arguments.quick, "rows": results}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return None


_HEADER = (
    "| work | peer | jaxinfo | peer's time | ratio | of the floor | compile | memory | peer's |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def _line(found: dict[str, Any]) -> str:
    ours, theirs, floor = found["ours"], found["theirs"], found["floor_s"]
    return " | ".join(
        (
            f"| {found['name']}",
            found["peer"],
            _time(ours),
            "-" if theirs is None else _time(theirs),
            "-" if found["ratio"] is None else f"**{found['ratio']:.3g}**",
            "-" if floor is None else f"{ours['median_s'] / floor:.1f}x ({found['floor_note']})",
            f"{found['compile_s']:.1f} s",
            _mib(ours),
            "- |" if theirs is None else f"{_mib(theirs)} |",
        )
    )


def _time(summary: dict[str, Any]) -> str:
    low, median, high = (summary[k] * 1e3 for k in ("low_s", "median_s", "high_s"))
    return f"{median:.3g} ms ({low:.3g}-{high:.3g})"


def _mib(found: dict[str, Any]) -> str:
    """Peak memory of the first call and of a second one."""
    first, again = found["peak_mib"], found["again_mib"]
    return "?" if first is None else f"{first:.0f}, then {again:.0f} MiB"


def _machine() -> str:
    versions = {}
    for name in ("jax", "jaxlib", "equinox", "numpy", "torch", "deep-ei", "fast-histogram"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{jax.default_backend()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        f"{listed}; float32"
    )


if __name__ == "__main__":
    main()
