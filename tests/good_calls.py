"""One good call of every public function: small arguments, made from its annotations.

`CALLS` overrides what the annotations cannot tell. Whatever is public and gets no call that works
fails `test_bad_calls.py`, so a new function is tried with bad arguments from its first day.
"""

import collections.abc
import functools
import importlib
import inspect
import os
import pathlib
import struct
import tempfile
import types
import typing

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from flax import nnx
from jaxtyping import PRNGKeyArray

from jaxinfo.activations import as_activation
from jaxinfo.ei import Sampling
from jaxinfo.info import PlugIn
from jaxinfo.io import serialize
from jaxinfo.maps import AbstractLinearMap, Linear
from jaxinfo.network import Channel, topology_of
from jaxinfo.patterns import DistinctPatterns, PackedPatterns
from jaxinfo.report import Report

ROOMS = (
    "activations surrogate ops metrics io info maps data data.tasks network patterns ei "
    "connectivity train report"
).split()
USUAL = ("key", "samples", "in_bins", "out_bins")  # given though they have a default
SIZES = {
    "in_features": 4,
    "out_features": 4,
    "n": 4,
    "d": 3,
    "classes": 3,
    "d1": 3,
    "d2": 3,
    "features": 4,
}


def public_functions(room):
    """Each public callable of a room, by name; a class stands for the calls that make one."""
    module = importlib.import_module(f"jaxinfo.{room}")
    found = {}
    for name, value in vars(module).items():
        owner = getattr(value, "__module__", "")
        if name.startswith("_") or not callable(value) or not owner.startswith("jaxinfo"):
            continue
        if owner.startswith(f"jaxinfo.{room}"):  # and not what it imports for itself
            found[name] = value
    return found


def example(parameter):
    """A value that fits an annotation, or `inspect.Parameter.empty`."""
    return _fitting(parameter.annotation)


def _fitting(annotation):
    empty = inspect.Parameter.empty
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (None, types.NoneType):
        return None
    if annotation in typing.get_args(PRNGKeyArray):
        return jr.key(0)
    if origin is typing.Annotated:
        return _fitting(parts[0])
    if origin in (typing.Union, types.UnionType):
        return next((v for v in map(_fitting, parts) if v is not empty), empty)
    if origin is typing.Literal:
        return parts[0]
    if hasattr(annotation, "dim_str"):
        return _array(annotation)
    if origin in (tuple, list, collections.abc.Sequence):
        parts = [p for p in parts if p is not ...] * (2 if ... in parts else 1)
        values = [_fitting(part) for part in parts]
        return empty if empty in values else (tuple(values) if origin is tuple else values)
    if origin is collections.abc.Callable or annotation is collections.abc.Callable:
        return jnp.tanh
    return {int: 4, float: 0.5, bool: False, str: "x", jax.Array: jnp.ones(3)}.get(
        annotation, empty
    )


def _array(annotation):
    shape = []
    for axis in annotation.dim_str.split():
        axis = axis.strip("#?")
        if axis == "..." or axis.startswith("*"):
            shape += [] if len(annotation.dim_str.split()) > 1 else [4]
        else:
            shape.append(int(axis) if axis.isdigit() else SIZES.get(axis, 3))
    kind = annotation.dtype.__name__
    values = np.linspace(0.1, 0.9, int(np.prod(shape))).reshape(shape)
    dtype = {"Int": int, "Integer": int, "UInt32": "uint32", "Bool": bool}.get(kind, "float32")
    return jnp.asarray(values.astype(dtype))


def good_arguments(name, fn):
    """The required arguments of one good call, by name; what is optional only where `CALLS` says."""
    given = {**BY_ARGUMENT.get(name.partition(".")[0], {}), **CALLS.get(name, {})}
    found = {k: v for k, v in CALLS.get(name, {}).items() if v is not None}
    for parameter in inspect.signature(fn).parameters.values():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if parameter.default is parameter.empty or parameter.name in USUAL:
            owner = getattr(fn, "__self__", None)
            if parameter.annotation == type(owner).__name__:
                value = owner
            elif parameter.name == "params" and name.startswith("maps."):
                value = parameters_of(owner)
            else:
                value = given.get(parameter.name, _fitting(parameter.annotation))
            if value is inspect.Parameter.empty:
                raise LookupError(f"no good value of `{parameter.name}` is known")
            if parameter.name != "self":
                found[parameter.name] = value
    return found


def parameters_of(kind):
    """The arrays of a map or a cell of some class, by the names under which it reads them."""
    if issubclass(kind, AbstractLinearMap):
        template = kind._template(4, 4, None, kind._source_options)
    else:
        template = kind(4, hidden_size=4, key=jr.key(0))
    leaves, _ = jax.tree_util.tree_flatten_with_path(template)
    name = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    return {name(path): jnp.ones(leaf.shape, leaf.dtype) for path, leaf in leaves}


def good_calls(room):
    """Every public function, class and method of a room that is not left out, by name."""
    for short, fn in public_functions(room).items():
        name = f"{room}.{short}"
        for called, function in ((name, fn), *public_methods(name, fn)):
            if called not in LEFT_OUT:
                yield called, function


def in_each_room(rooms, try_function, what):
    """`try_function(name, fn)` of every good call: prints its lines, returns the exit status.

    It says how many `what` it tried, with one line for each that ends badly.
    """
    os.chdir(FOLDER)  # where files of bad names end
    tried, bad = 0, 0
    for room in rooms:
        for name, fn in good_calls(room):
            more, lines = try_function(name, fn)
            tried, bad = tried + more, bad + len(lines)
            print(*lines, sep="\n", end="\n" if lines else "", flush=True)
    print(f"{bad} of {tried} {what} end badly")
    return int(bad > 0)


def is_key(array):
    return jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)


def public_methods(name, cls):
    """The public methods of a class that take arguments, bound to an instance or to the class."""
    if not inspect.isclass(cls) or (name in LEFT_OUT and name not in INSTANCES):
        return
    instance = INSTANCES.get(name)
    for method in dir(cls):
        if (method.startswith("_") and method != "__call__") or f"{name}.{method}" in LEFT_OUT:
            continue
        found = inspect.getattr_static(cls, method)
        if isinstance(found, staticmethod | classmethod):
            yield f"{name}.{method}", getattr(cls, method)
        elif inspect.isfunction(found) and len(inspect.signature(found).parameters) > 1:
            if instance is None:
                instance = cls(**good_arguments(name, cls))
            yield f"{name}.{method}", getattr(instance, method)


MODEL = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=jr.key(0))
TOPOLOGY = topology_of(MODEL, jnp.zeros(3))
CHANNEL = Channel.from_weight(jnp.ones((3, 2)), None, "sigmoid")
PATTERNS = PackedPatterns.pack(jnp.ones((4, 3), bool))
COUNTS = jnp.ones((3, 4), jnp.int32)
NUMBERS = jnp.zeros((4, 2), jnp.int32)
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="good-calls-"))
serialize(FOLDER / "saved.jaxinfo", {"a": jnp.ones(3)})
np.savez(FOLDER / "weights.npz", weight=np.ones((2, 3), np.float32), bias=np.zeros(2, np.float32))
for part in ("train", "t10k"):
    header = bytes((0, 0, 8, 3)) + struct.pack(">3I", 12, 2, 2)
    (FOLDER / f"{part}-images-idx3-ubyte").write_bytes(header + bytes(48))
    header = bytes((0, 0, 8, 1)) + struct.pack(">I", 12)
    (FOLDER / f"{part}-labels-idx1-ubyte").write_bytes(header + bytes(12))
LAYER = eqx.nn.Linear(3, 2, key=jr.key(0))
REPORT = Report(
    title="none",
    topology="",
    settings={},
    layers=(),
    graph={},
)


def squared_error(model, x, y):
    return jnp.mean((jax.vmap(model)(x) - y) ** 2)


FEW = {"in_bins": 2, "out_bins": 2}
# What arguments of a name are in a room.
BY_ARGUMENT = {
    "info": {"estimator": PlugIn()},
    "maps": {
        "model": MODEL,
        "where": lambda m: m.layers[0],
        "Map": Linear,
    },
    "network": {"model": MODEL, "x": jnp.zeros(3), "layer": "layers.0", "fn": jnp.tanh},
    "patterns": {
        "model_or_topology": eqx.nn.MLP(3, 2, 4, 1, key=jr.key(0)),
        "X": jnp.ones((4, 3)),
        "x": jnp.ones(3),
        "patterns": PATTERNS,
        "a": PATTERNS,
        "b": PATTERNS,
        "queries": PATTERNS,
    },
    "ei": {**FEW, "layer": CHANNEL, "topology": TOPOLOGY, "samples": 100, "groups": [[[0], [1]]]},
    "connectivity": {"model": MODEL, "module": LAYER, "x": jnp.zeros(3)},
    "train": {"model": MODEL, "model_or_topology": TOPOLOGY},
    "report": {"topology": TOPOLOGY, "report": REPORT, "folder": FOLDER / "report"},
}
METHOD = {"method": Sampling(samples=100), "samples": None}
CALLS = {
    "activations.Activation": {"name": "identity", "knots": as_activation("identity").knots},
    "activations.as_activation": {"activation": "relu"},
    "activations.create_function": {"fun_name": "relu"},
    "activations.with_pieces": {"activation": as_activation("relu")},
    "activations.bkwta": {"nWTA": 2},
    "ops.normalize_matrix": {"M": jnp.ones((3, 3)), "wnorm": 1.0},
    "ops.initialize_params": {"initKernel": ("uniform", 0.0, 1.0)},
    "io.deserialize": {"fname": FOLDER / "saved.jaxinfo"},
    "io.serialize": {"fname": FOLDER / "new.jaxinfo", "object": {"a": jnp.ones(3)}},
    "io.makedir": {"directory": FOLDER / "made"},
    "io.makedirs": {"directories": [FOLDER / "made"]},
    "ops.pull_equations": {"controller": Linear(2, 2, key=jr.key(0))},
    "maps.RNN.from_parameters": {"input_size": 4, "hidden_size": 4},
    "maps.RNN.__call__": {"sequence": jnp.ones((5, 1, 4))},
    "maps.RNNCell.__call__": {"input": jnp.ones(4), "hidden": jnp.ones(4)},
    "data.DataLoader": {"design_matrices": [("x", jnp.ones((4, 2)))], "batch_size": 2},
    "data.generate_patch_set": {"x_batch_": jnp.ones((2, 16)), "patch_size": (2, 2)},
    "data.patch_grid": {"images": jnp.ones((2, 16)), "patch_size": (2, 2)},
    "data.tasks.load_pMNIST_data": {"data_path": FOLDER},
    "network.Topology.act": {"pre_activation": jnp.zeros(4)},
    "network.Topology.run": {"x": jnp.zeros(3)},
    "network.Channel.with_activation": {"activation": "relu"},
    "network.from_flax": {"model": nnx.Linear(3, 2, rngs=nnx.Rngs(0))},
    "network.Channel": {"fn": jnp.tanh, "in_shape": (3,)},
    "patterns.PackedPatterns": {"words": PATTERNS.words, "n": 4},
    "patterns.GatedReLU": {"gates": jnp.ones((3, 2)), "weights": jnp.ones((3, 2, 1))},
    "patterns.GatedReLUNetwork": {
        "gate": LAYER,
        "hidden": LAYER,
        "readout": eqx.nn.Linear(2, 1, key=jr.key(0)),
        "strict": False,
    },
    "patterns.linear_regions": {"patterns": {"a": PATTERNS}},
    "patterns.summarise_patterns": {"patterns": {"a": PATTERNS}},
    "patterns.fit_gated_relu": {"y": jnp.ones(4), "G": jnp.ones((3, 2))},
    "patterns.sample_convolutional_gates": {"d": 16, "image_shape": (1, 4, 4)},
    "patterns.enumerate_patterns": {"X": jnp.eye(3)},
    "patterns.sample_sparse_gates": {"sparsity_indices": [[0, 1], [2]]},
    "train.fit": {
        "loss": squared_error,
        "x": jnp.ones((4, 3)),
        "y": jnp.ones((4, 2)),
        "optimiser": optax.sgd(0.1),
        "batch_size": 2,
        "epochs": 1,
    },
    "train.ei_penalty": METHOD,
    "ei.measure": {**METHOD, **FEW, "layers": ["layers.1"], "quantities": ["ei_parts"]},
    "report.analyze": {"layers": ["layers.1"], "bins": 2, "samples": 100},
    "network.load_torch_weights": {"model": LAYER, "path": FOLDER / "weights.npz"},
}
# Whose methods are called, where a constructor is left out.
INSTANCES = {
    "network.Topology": TOPOLOGY,
    "patterns.DistinctPatterns": DistinctPatterns.of(PATTERNS),
}
# What is not called, and why.
MADE = "a result: functions make it"
LEFT_OUT = {
    **dict.fromkeys(
        (
            "network.Topology",
            "network.Verification",
            "network.Imported",
            "patterns.Coverage",
            "patterns.DistinctPatterns",
            "patterns.GatedReLUFit",
            "patterns.LayerSummary",
            "ei.Estimate",
            "train.Trajectory",
            "report.Report",
        ),
        MADE,
    ),
    **{
        f"ei.{route}.{method}": "what a method does: the functions call it with a `Setting`"
        for route in ("Exact", "Sampling", "Soft")
        for method in (
            *("blocks", "draw", "fold", "map_batches"),
            *("noise_range", "silent_range", "parts", "sensitivity", "vector"),
        )
    },
    "surrogate.AbstractSurrogate": "abstract",
    "info.AbstractEstimator": "abstract",
    "maps.AbstractLinearMap": "abstract",
    "maps.AbstractSquareMap": "abstract",
    "activations.Activation.through": "takes its knots by position",
    "ops.HasEquation": "a protocol",
    "ops.HasComponents": "a protocol",
    "network.ImportMismatch": "an error",
    "network.UnsupportedOperators": "an error",
    "network.to_torch_state_dict": "needs torch: tested in network/test_from_torch.py",
    "network.from_torch": "needs torch: tested in network/test_from_torch.py",
}
