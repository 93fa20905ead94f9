"""Each operator of the table against torch, on torch's own sample inputs.

An operation of torch's database is run under a mode that sees every core operator it comes down to;
those that are in the table are then asked for the same.
"""

import itertools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxinfo.network._torch._table import OPERATORS
from jaxinfo.network._torch._tensors import numpy_dtype, to_numpy

torch = pytest.importorskip("torch")

from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

_MEMORY = ("device", "layout", "pin_memory", "memory_format", "non_blocking", "requires_grad")
KEPT = {  # composite operators that are imported whole, and so are called whole
    "nn.functional.linear": "linear",
    "matmul": "matmul",
    "einsum": "einsum",
    "nn.functional.scaled_dot_product_attention": "scaled_dot_product_attention",
}


class Recorder(TorchDispatchMode):
    """Keeps every call of a functional operator that the table knows."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kept = torch.utils._pytree.tree_map(_copy, (args, kwargs or {}))
        out = func(*args, **(kwargs or {}))
        if str(func) in OPERATORS and not func._schema.is_mutable:
            self.calls.append((str(func), *kept, torch.utils._pytree.tree_map(_copy, out)))
        return out


def _copy(value):
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def to_jax(value):
    if isinstance(value, torch.Tensor):
        return jnp.asarray(to_numpy(value))
    if isinstance(value, torch.dtype):
        return numpy_dtype(value)
    if isinstance(value, tuple | list):
        return type(value)(to_jax(item) for item in value)
    if isinstance(value, dict):
        return {key: to_jax(item) for key, item in value.items() if key not in _MEMORY}
    return value


def calls_of(info, samples):
    """Operator calls, at most `samples` for each distinct operator."""
    recorder = Recorder()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        given = itertools.islice(info.sample_inputs("cpu", torch.float32), 60)
        for sample in given:
            if info.name in KEPT:
                call_whole(KEPT[info.name], sample, recorder)
            else:
                with recorder:
                    info.op(sample.input, *sample.args, **sample.kwargs)
    by_name = {}
    for call in recorder.calls:
        by_name.setdefault(call[0], []).append(call)
    for calls in by_name.values():
        step = max(1, len(calls) // samples)
        yield from calls[::step][:samples]


def call_whole(name, sample, recorder):
    args = (sample.input, *sample.args)
    if name == "einsum":
        args = (sample.args[0], list(sample.input))
    if sample.kwargs.get("dropout_p", 0.0) > 0:
        return
    out = getattr(torch.ops.aten, name).default(*args, **sample.kwargs)
    recorder.calls.append((f"aten.{name}.default", args, sample.kwargs, out))


def assert_same(name, args, kwargs, expected):
    ours = OPERATORS[name].fn(*to_jax(args), **to_jax(kwargs))
    flat = [x for x in torch.utils._pytree.tree_leaves(expected) if isinstance(x, torch.Tensor)]
    found = ours if isinstance(ours, tuple | list) else [ours]
    for mine, theirs in zip(found, flat, strict=False):
        if not theirs.numel():
            continue
        theirs = to_numpy(theirs)
        mine = np.asarray(jnp.asarray(mine).astype(jax.dtypes.canonicalize_dtype(theirs.dtype)))
        described = f"{name} {[getattr(a, 'shape', a) for a in args]} {kwargs}"
        assert mine.shape == theirs.shape, described
        scale = max(float(np.max(np.abs(theirs[np.isfinite(theirs)]), initial=0.0)), 1.0)
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-6 * scale, err_msg=described)
