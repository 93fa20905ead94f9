"""Sums, extremes and the like over axes, cumulative operators, sorting."""

import jax
import jax.numpy as jnp
from jax import lax

from .._table import torch_operator


def axes_of(x, dim):
    """torch's axes as JAX's: none given, or an empty list, means all; a scalar has an axis 0."""
    if dim is None or not x.ndim:
        return None
    return dim if isinstance(dim, int) else tuple(dim) or None


_OVER_AXES = {
    ("all.default", "all.dim", "all.dims"): jnp.all,
    ("amax.default",): jnp.max,
    ("amin.default",): jnp.min,
    ("any.default", "any.dim", "any.dims"): jnp.any,
    ("count_nonzero.default", "count_nonzero.dim_IntList"): jnp.count_nonzero,
}
for names, fn in _OVER_AXES.items():
    torch_operator(*(f"aten.{name}" for name in names))(
        lambda x, dim=None, keepdim=False, fn=fn: fn(x, axis=axes_of(x, dim), keepdims=keepdim)
    )

_TOTALS = {
    ("mean.default", "mean.dim"): jnp.mean,
    ("prod.default", "prod.dim_int"): jnp.prod,
    ("sum.default", "sum.dim_IntList"): jnp.sum,
}
for names, fn in _TOTALS.items():
    torch_operator(*(f"aten.{name}" for name in names))(
        lambda x, dim=None, keepdim=False, dtype=None, fn=fn: fn(
            counted(x, dtype), axis=axes_of(x, dim), keepdims=keepdim
        )
    )


def counted(x, dtype=None):
    """What sums and products are taken of: whole numbers, however narrow, as the widest there are."""
    if dtype is None:
        return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(int)
    return x.astype(jax.dtypes.canonicalize_dtype(dtype))


@torch_operator("aten.max.default")
def max_of_all(x):
    return jnp.max(x)


@torch_operator("aten.min.default")
def min_of_all(x):
    return jnp.min(x)


def _at_extreme(find):
    def extreme(x, dim, keepdim=False):
        # The gradient goes to the entry that was found, not to all that are equal to it.
        index = find(x, axis=dim, keepdims=True) if x.ndim else jnp.zeros((), int)
        value = jnp.take_along_axis(x, index, axis=dim) if x.ndim else x
        if keepdim or not x.ndim:
            return value, index
        return jnp.squeeze(value, dim), jnp.squeeze(index, dim)

    return extreme


torch_operator("aten.max.dim")(_at_extreme(jnp.argmax))
torch_operator("aten.min.dim")(_at_extreme(jnp.argmin))


@torch_operator("aten.argmax.default")
def argmax(x, dim=None, keepdim=False):
    return jnp.argmax(x, axis=dim if x.ndim else None, keepdims=keepdim)


@torch_operator("aten.argmin.default")
def argmin(x, dim=None, keepdim=False):
    return jnp.argmin(x, axis=dim if x.ndim else None, keepdims=keepdim)


@torch_operator("aten.var.correction")
def var(x, dim=None, *, correction=1, keepdim=False):
    correction = 1 if correction is None else correction
    return jnp.var(x, axis=axes_of(x, dim), ddof=correction, keepdims=keepdim)


@torch_operator("aten.var.dim")
def var_dim(x, dim, unbiased=True, keepdim=False):
    return var(x, dim, correction=int(unbiased), keepdim=keepdim)


@torch_operator("aten.var_mean.correction")
def var_mean(x, dim=None, *, correction=1, keepdim=False):
    mean = jnp.mean(x, axis=axes_of(x, dim), keepdims=keepdim)
    return var(x, dim, correction=correction, keepdim=keepdim), mean


@torch_operator("aten.cumsum.default")
def cumsum(x, dim, dtype=None):
    return jnp.cumsum(counted(x, dtype), axis=dim) if x.ndim else counted(x, dtype)


@torch_operator("aten.cumprod.default")
def cumprod(x, dim, dtype=None):
    return jnp.cumprod(counted(x, dtype), axis=dim) if x.ndim else counted(x, dtype)


@torch_operator("aten.logcumsumexp.default")
def logcumsumexp(x, dim):
    return lax.cumlogsumexp(x, axis=dim % x.ndim) if x.ndim else x


def _running(scan, neutral):
    def running(x, dim):
        if not x.ndim:
            return x, jnp.zeros((), int)
        axis = dim % x.ndim
        places = lax.broadcasted_iota(jnp.int32, x.shape, axis)
        fixed = lax.stop_gradient(x)
        undefined = _undefined(fixed)
        # From the first undefined entry on the result is undefined, and its place the last such.
        any_so_far = lax.cummax(undefined.astype(jnp.int32), axis=axis) > 0
        found = scan(_where(undefined, neutral, fixed), axis=axis)
        taken = undefined | (~any_so_far & (fixed == found))
        index = lax.cummax(jnp.where(taken, places, 0), axis=axis)
        return jnp.take_along_axis(x, index, axis=axis), index

    return running


def _where(undefined, neutral, x):
    return jnp.where(undefined, neutral, x) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def _undefined(x):
    return jnp.isnan(x) if jnp.issubdtype(x.dtype, jnp.inexact) else jnp.zeros(x.shape, bool)


torch_operator("aten.cummax.default")(_running(lax.cummax, -jnp.inf))
torch_operator("aten.cummin.default")(_running(lax.cummin, jnp.inf))


@torch_operator("aten.sort.default")
def sort(x, dim=-1, descending=False):
    return sort_stable(x, stable=True, dim=dim, descending=descending)


@torch_operator("aten.sort.stable")
def sort_stable(x, stable=True, dim=-1, descending=False):
    if not x.ndim:
        return x, jnp.zeros((), int)
    index = jnp.argsort(lax.stop_gradient(x), axis=dim, stable=True, descending=descending)
    return jnp.take_along_axis(x, index, axis=dim), index


@torch_operator("aten.argsort.default")
def argsort(x, dim=-1, descending=False):
    return sort_stable(x, dim=dim, descending=descending)[1]


@torch_operator("aten.argsort.stable")
def argsort_stable(x, *, stable=True, dim=-1, descending=False):
    return sort_stable(x, dim=dim, descending=descending)[1]


@torch_operator("aten.topk.default")
def topk(x, k, dim=-1, largest=True, sorted=True):
    values, index = sort_stable(x, dim=dim, descending=largest)
    if not x.ndim:
        return values, index
    return lax.slice_in_dim(values, 0, k, axis=dim), lax.slice_in_dim(index, 0, k, axis=dim)


@torch_operator("aten.median.dim")
def median(x, dim, keepdim=False):
    """The lower of the two middle entries, or the first that is no number."""
    if not x.ndim:
        return x, jnp.zeros((), int)
    _, middle = kthvalue(x, (x.shape[dim] + 1) // 2, dim, keepdim=True)
    undefined = _undefined(x)
    first = jnp.argmax(undefined, axis=dim, keepdims=True)
    index = jnp.where(jnp.any(undefined, axis=dim, keepdims=True), first, middle)
    found = jnp.take_along_axis(x, index, axis=dim), index
    return found if keepdim else tuple(jnp.squeeze(f, dim) for f in found)


@torch_operator("aten.kthvalue.default")
def kthvalue(x, k, dim=-1, keepdim=False):
    values, index = sort_stable(x, dim=dim)
    if not x.ndim:
        return values, index
    return tuple(lax.index_in_dim(v, k - 1, axis=dim, keepdims=keepdim) for v in (values, index))


@torch_operator("aten.median.default")
def median_of_all(x):
    return median(jnp.ravel(x), 0)[0]


@torch_operator("aten.trace.default")
def trace(x):
    return jnp.trace(counted(x))


@torch_operator("aten.std.correction")
def std(x, dim=None, *, correction=1, keepdim=False):
    return jnp.sqrt(var(x, dim, correction=correction, keepdim=keepdim))
