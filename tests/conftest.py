"""Fixtures of all tests, and the law of the golden data's place."""

import gc
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.random as jr
import numpy as np
import pytest
from jax._src.interpreters import mlir

# Most of the time of these tests goes into compiling some 18 000 small programs, most of them once.
# XLA's own passes, where arithmetic is rearranged, stay on; LLVM's polishing goes.
# `JAX_DISABLE_MOST_OPTIMIZATIONS=0 pytest` tests with all of it.
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1":
    jax.config.update("jax_disable_most_optimizations", True)
    # Loops straight to LLVM and not by way of MLIR, and one module a program: a third of the time.
    flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    if "XLA_FLAGS" not in os.environ:
        # XLA ends a process at a flag that it does not know, so another one tries them.
        tried = subprocess.run(
            [sys.executable, "-c", "import jax; jax.devices()"],
            env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
            capture_output=True,
        )
        # For this process, and those that tests start.
        os.environ["XLA_FLAGS"] = flags if tried.returncode == 0 else ""
    # One MLIR context serves all programs: a new one for each takes a fifth of the time of a small
    # one and most of the memory. A program that is made while another is has one of its own.
    if hasattr(mlir, "make_ir_context"):
        new_context, shared = mlir.make_ir_context, mlir.make_ir_context()
        mlir.make_ir_context = lambda: shared if mlir.ir.Context.current is None else new_context()
    # Tracing makes many objects that live on.
    gc.set_threshold(200_000, 50, 1000)

# What commands that are tested compile is not kept in the user's folders.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"

# Without torch the tests of imports are skipped, and all else passes.
HAS_TORCH = importlib.util.find_spec("torch") is not None
collect_ignore = [] if HAS_TORCH else ["network/torch_zoo.py"]  # models, no tests


def pytest_collection_modifyitems(items):
    for item in items:
        if isinstance(item, pytest.DoctestItem) and not HAS_TORCH:
            if any(example.source.startswith("import torch") for example in item.dtest.examples):
                item.add_marker(
                    pytest.mark.skip(reason="the example imports torch, which is not installed")
                )


GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture
def getkey(request):
    """A source of fresh keys, the same for every run of the same test."""
    seed = sum(map(ord, request.node.nodeid)) % 2**31
    keys = iter(jr.split(jr.key(seed), 1000))
    return lambda: next(keys)


@pytest.fixture
def x64():
    """Double precision for one test."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def load_golden(name: str):
    """The cases and the arrays of one folder of `tests/golden`."""
    folder = GOLDEN / name
    cases = json.loads((folder / "cases.json").read_text())
    return (cases if isinstance(cases, list) else cases["cases"]), np.load(folder / "data.npz")
