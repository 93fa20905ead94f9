"""Each operator of the table against torch, on torch's own sample inputs.

An operation of torch's database is run under a mode that sees every core operator it comes down to;
those that are in the table are then asked for the same.
"""

import itertools
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.network._torch._table import OPERATORS
from jaxinfo.network._torch._tensors import numpy_dtype, to_numpy

torch = pytest.importorskip("torch", reason="imports models of torch")
pytest.importorskip("expecttest")  # which torch's own database of samples imports

from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

_MEMORY = ("device", "layout", "pin_memory", "memory_format", "non_blocking", "requires_grad")
KEPT = {  # composite operators that are imported whole, and so are called whole
    "nn.functional.linear": "linear",
    "matmul": "matmul",
    "einsum": "einsum",
    "nn.functional.scaled_dot_product_attention": "scaled_dot_product_attention",
}


# Entries of torch's database that between them reach every operator of the table they can reach.
INFOS = """
nn.functional.interpolate nn.functional.pad cov nn.functional.cosine_embedding_loss all quantile max
linalg.norm nn.functional.gaussian_nll_loss copysign corrcoef eye index_fill lerp median round scatter
nn.functional.instance_norm isclose nn.functional.multilabel_soft_margin_loss __getitem__ min
combinations _native_batch_norm_legit _unsafe_masked_index _upsample_bilinear2d_aa acos acosh addbmm
addcdiv addcmul addmv addr argmax asin asinh atan atan2 atanh baddbmm bmm bucketize ceil clamp
clamp_max clamp_min cos cosh cummax cummin cumprod cumsum digamma div einsum empty_permuted
empty_strided erfc exp2 expand_copy expm1 fill floor floor_divide fmax fmin fmod frac ge gt hypot
index_add index_copy index_put isinf lgamma linspace log10 log1p log2 logaddexp logaddexp2
logcumsumexp logical_and logical_not logical_or logical_xor logsumexp masked_fill masked_scatter
matmul mv nan_to_num nanmean new_full new_zeros nn.functional.avg_pool3d nn.functional.bilinear
nn.functional.channel_shuffle nn.functional.hardsigmoid nn.functional.hardswish nn.functional.hardtanh
nn.functional.linear nn.functional.max_pool3d nn.functional.mish nn.functional.pixel_shuffle
nn.functional.scaled_dot_product_attention nn.functional.threshold ones permute_copy reciprocal
remainder roll rsub scatter_add scatter_reduce select_scatter sgn sign signbit sin sinh slice_scatter
sort split split_with_sizes_copy squeeze std t_copy take tan topk tril triu trunc unbind unbind_copy
unfold unfold_copy var var_mean vdot view_copy xlogy diag max_pool2d_with_indices_backward
cartesian_prod dot exp float_power index_select native_group_norm native_layer_norm
nn.functional.rms_norm nn.functional.softmin nn.functional.tanhshrink nn.functional.max_pool2d
nn.functional.triplet_margin_loss flip nn.functional.avg_pool1d nn.functional.avg_pool2d cat
nn.functional.conv1d nn.functional.conv2d nn.functional.conv_transpose2d nn.functional.gelu
nn.functional.silu nn.functional.elu nn.functional.leaky_relu nn.functional.softplus
nn.functional.prelu nn.functional.embedding nn.functional.adaptive_avg_pool2d gather erf sigmoid
nn.functional.relu nn.functional.logsigmoid nn.functional.pixel_unshuffle isfinite square trace
count_nonzero prod argmin tanh rsqrt linalg.inv_ex linalg.cholesky_ex linalg.solve_triangular
linalg.det cdist fft.fft2 fft.hfft fft.rfft2 fft.irfft2 complex polar view_as_complex angle
searchsorted i0 special.i1 special.ndtri igamma igammac index_reduce put
cholesky_solve cholesky_inverse linalg.pinv grid_sampler_3d nn.functional.adaptive_max_pool1d
nn.functional.adaptive_max_pool2d nn.functional.adaptive_max_pool3d
kthvalue ldexp nn.functional.embedding_bag matrix_exp linalg.slogdet linalg.solve_ex linalg.eigh
linalg.svdvals linalg.qr nn.functional.pdist
""".split()

# Results that torch leaves open, by operator and position: uninitialised memory, scratch space.
UNSPECIFIED = {("aten.log_sigmoid_forward.default", 1)} | {
    (f"aten._embedding_bag{kind}.default", i) for kind in ("", "_forward_only") for i in (1, 2, 3)
}
UNSPECIFIED |= {("aten._linalg_svd.default", 0), ("aten._linalg_svd.default", 2)}
UNSPECIFIED |= {("aten._linalg_eigh.default", 1)}  # vectors have no sign of their own
UNSPECIFIED |= {
    (name, 0) for name in OPERATORS if name.startswith(("aten.empty", "aten.new_empty"))
}


# Its result has a shape that a compilation cannot know: tested with the layers.
SHAPED_BY_VALUES = "aten.masked_select.default"


class Recorder(TorchDispatchMode):
    """Keeps every call of a functional operator that the table knows."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kept = torch.utils._pytree.tree_map(_copy, (args, kwargs or {}))
        out = func(*args, **(kwargs or {}))
        known = str(func) in OPERATORS and str(func) != SHAPED_BY_VALUES
        if known and not func._schema.is_mutable:
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
        # `info.sample_inputs` looks up the stack for each of them, which takes most of the time.
        samples_of = info.sample_inputs_func(info, "cpu", torch.float32, requires_grad=False)
        given = itertools.islice(samples_of, 60)
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


def is_empty(args):
    tensors = [x for x in torch.utils._pytree.tree_leaves(args) if isinstance(x, torch.Tensor)]
    return not all(tensor.numel() for tensor in tensors)


@eqx.filter_jit
def answers(calls):
    """What the table gives for these calls, by one compilation: names and options are static."""
    return [OPERATORS[name].fn(*args, **kwargs) for name, args, kwargs in calls]


def assert_same(name, args, kwargs, expected, ours):
    flat = [x for x in torch.utils._pytree.tree_leaves(expected) if isinstance(x, torch.Tensor)]
    found = ours if isinstance(ours, tuple | list) else [ours]
    for i, (mine, theirs) in enumerate(zip(found, flat, strict=False)):
        if not theirs.numel() or (name, i) in UNSPECIFIED:
            continue
        theirs = to_numpy(theirs)
        mine = np.asarray(mine).astype(jax.dtypes.canonicalize_dtype(theirs.dtype))
        described = f"{name} {[getattr(a, 'shape', a) for a in args]} {kwargs}"
        assert mine.shape == theirs.shape, described
        scale = max(float(np.max(np.abs(theirs[np.isfinite(theirs)]), initial=0.0)), 1.0)
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-6 * scale, err_msg=described)


@pytest.mark.parametrize("name", INFOS)
def test_operator_agrees_with_torch(name):
    infos = [info for info in op_db if info.name == name]
    assert infos
    calls = [call for info in infos for call in calls_of(info, samples=2)]
    assert calls
    calls = [call for call in calls if not is_empty(call[1])]  # nothing in, nothing out
    found = answers([(name, to_jax(args), to_jax(kwargs)) for name, args, kwargs, _ in calls])
    for call, ours in zip(calls, found, strict=True):
        assert_same(*call, ours)


def test_every_entry_is_an_operator_of_torch():
    for name in OPERATORS:
        library, operator, overload = [*name.split("."), None][:3]
        if library in ("aten", "prims") and overload != "values":
            assert hasattr(getattr(torch.ops, library), operator), name
            assert overload in getattr(getattr(torch.ops, library), operator).overloads(), name
