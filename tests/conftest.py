"""Fixtures of all tests, and the law of the golden data's place."""

import json
import os
import pathlib

import jax
import jax.random as jr
import numpy as np
import pytest

# Most of the time of these tests is LLVM polishing code that runs once. XLA's own passes, where
# arithmetic is rearranged, stay on. `JAX_DISABLE_MOST_OPTIMIZATIONS=0 pytest` tests with all of it.
if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # for the processes that tests start
    jax.config.update("jax_disable_most_optimizations", True)

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture
def getkey(request):
    """A source of fresh keys, the same for every run of the same test."""
    seed = sum(map(ord, request.node.nodeid)) % 2**31
    keys = iter(jr.split(jr.key(seed), 1000))
    return lambda: next(keys)


@pytest.fixture(autouse=True, scope="module")
def forget_compilations():
    """Compiled programs of a file of tests serve no other, and take gigabytes together."""
    yield
    jax.clear_caches()


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
