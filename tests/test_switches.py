"""JAX's debugging switches break nothing that works without them."""

import functools
import inspect
import sys
import warnings

import equinox as eqx
import jax
import numpy as np
import pytest
from good_calls import ROOMS, good_arguments, good_calls, is_key

from jaxinfo.activations import ACTIVATIONS

SWITCHES = {  # on and off
    "jax_debug_nans": (True, False),
    "jax_debug_infs": (True, False),
    "jax_transfer_guard": ("disallow", "allow"),
    "jax_numpy_rank_promotion": ("raise", "allow"),
    "jax_numpy_dtype_promotion": ("strict", "standard"),
    "jax_enable_x64": (True, False),
}
# What compiles little and between them promotes, transfers, and has NaN or inf on the way.
# `python tests/test_switches.py` makes every good call of every room under each switch.
SOME = {
    "activations": "activations.soft_sign activations.Activation.preimages activations.softmax",
    "surrogate": "surrogate.Triangular surrogate.Triangular.__call__",
    "ops": "ops.binarize ops.normalize_matrix",
    "metrics": "metrics.measure_KLD metrics.measure_linear_CKA metrics.measure_NMI",
    "info": "info.JointHistogram.of info.PairHistogram.update info.mutual_information",
    "maps": "maps.OrthogonalLinear maps.LeftStochasticLinear.from_matrix",
    "data.tasks": "data.tasks.add data.tasks.ackley_function",
    "patterns": "patterns.activation_patterns patterns.hamming_distances patterns.linear_regions",
    "network": "network.topology_of network.Channel.from_weight",
    "connectivity": "connectivity.ei",
    "ei": "ei.ei_parts ei.output_entropy",
    "train": "train.fit",
}


@functools.cache
def calls(room):
    return dict(good_calls(room))


def call(fn, arguments, jitted=False):
    """The arrays in the answer, or None for what is documented as not implemented."""
    try:
        answer = (jax.jit(fn) if jitted else fn)(**arguments)
    except NotImplementedError:
        return None
    arrays = filter(eqx.is_array, jax.tree.leaves(answer))
    return [np.asarray(jax.random.key_data(a) if is_key(a) else a) for a in arrays]


def check(switch, name, fn):
    """The same answer with the switch and without; in double precision, arrays of the same shape."""
    arguments = good_arguments(name, fn)
    expected = call(fn, arguments)
    # Elementwise functions have no door, and eagerly a plain number in one is itself a transfer.
    plain = inspect.isfunction(fn) and not hasattr(fn, "__wrapped__")
    plain |= name.removeprefix("activations.") in ACTIVATIONS
    jitted = plain and switch == "jax_transfer_guard"
    on, off = SWITCHES[switch]
    jax.config.update(switch, on)
    try:
        found = call(fn, arguments, jitted)
    finally:
        jax.config.update(switch, off)
    for a, b in zip(found or (), expected or (), strict=True):
        if switch == "jax_enable_x64":
            assert a.shape == b.shape
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("room", SOME)
@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_breaks_nothing(switch, room):
    for name in SOME[room].split():
        check(switch, name, calls(room)[name])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    failed = 0
    for switch in SWITCHES:
        for room in ROOMS:
            for name, fn in calls(room).items():
                try:
                    check(switch, name, fn)
                except Exception as error:
                    failed += 1
                    print(
                        f"{switch} {name}: {type(error).__name__} {str(error)[:150]!r}", flush=True
                    )
    sys.exit(failed > 0)
