"""Normalisation. Statistics of 16-bit inputs are taken in 32 bits, as torch does."""

import math

import jax.numpy as jnp
from jax import lax

from .._table import torch_operator
from ._reductions import axes_of


def _wide(x):
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


def _per_channel(values, n_space):
    return jnp.reshape(values, (-1, *[1] * n_space))


def _none():
    return jnp.zeros(0)


def _batch_norm(x, weight, bias, mean, variance, eps, n_space):
    # One scale and one shift for each channel: affine in `x`, entry by entry.
    scale = lax.rsqrt(_wide(variance) + eps)
    scale = scale if weight is None else scale * weight
    y = (_wide(x) - _per_channel(mean, n_space)) * _per_channel(scale, n_space)
    return y if bias is None else y + _per_channel(bias, n_space)


def _batch_norm_single(x, weight, bias, mean, variance, momentum, eps):
    y = _batch_norm(x, weight, bias, mean, variance, eps, x.ndim - 1)
    return y, _none(), _none()


@torch_operator("aten._native_batch_norm_legit_no_training.default", single=_batch_norm_single)
def batch_norm(x, weight, bias, mean, variance, momentum, eps):
    y = _batch_norm(x, weight, bias, mean, variance, eps, x.ndim - 2)
    return y, _none(), _none()


@torch_operator("aten._native_batch_norm_legit.no_stats")
def batch_norm_of_batch(x, weight, bias, training, momentum, eps):
    axes = (0, *range(2, x.ndim))
    mean, variance = jnp.mean(_wide(x), axes), jnp.var(_wide(x), axes)
    y = _batch_norm(x, weight, bias, mean, variance, eps, x.ndim - 2)
    return y, mean, lax.rsqrt(variance + eps)


def layer_norm(x, normalized_shape, weight, bias, eps):
    axes = tuple(range(-len(normalized_shape), 0))
    wide = _wide(x)
    mean = jnp.mean(wide, axes, keepdims=True)
    scale = lax.rsqrt(jnp.var(wide, axes, keepdims=True) + eps)
    y = (wide - mean) * scale
    y = y if weight is None else y * weight
    return (y if bias is None else y + bias), mean, scale


torch_operator("aten.native_layer_norm.default", single=layer_norm)(layer_norm)


@torch_operator("aten.native_group_norm.default")
def group_norm(x, weight, bias, n, channels, space, groups, eps):
    grouped = _wide(jnp.reshape(x, (n, groups, channels // groups * space)))
    mean = jnp.mean(grouped, -1, keepdims=True)
    scale = lax.rsqrt(jnp.var(grouped, -1, keepdims=True) + eps)
    y = jnp.reshape((grouped - mean) * scale, x.shape)
    y = y if weight is None else y * _per_channel(weight, x.ndim - 2)
    y = y if bias is None else y + _per_channel(bias, x.ndim - 2)
    return y, mean[..., 0], scale[..., 0]


def rms_norm(x, normalized_shape, weight=None, eps=None):
    axes = tuple(range(-len(normalized_shape), 0))
    wide = _wide(x)
    eps = jnp.finfo(wide.dtype).eps if eps is None else eps
    scale = lax.rsqrt(jnp.mean(wide * wide, axes, keepdims=True) + eps)
    y = wide * scale
    return y if weight is None else y * weight, scale


torch_operator("aten._fused_rms_norm.default", single=rms_norm)(rms_norm)


@torch_operator("aten.linalg_vector_norm.default")
def vector_norm(x, ord=2, dim=None, keepdim=False, dtype=None):
    axes = axes_of(x, dim)
    size = jnp.abs(x if dtype is None else x.astype(dtype))
    if ord == math.inf:
        return jnp.max(size, axes, keepdims=keepdim)
    if ord == -math.inf:
        return jnp.min(size, axes, keepdims=keepdim)
    if ord == 0:
        return jnp.sum(size != 0, axes, keepdims=keepdim)
    if ord == 1:
        return jnp.sum(size, axes, keepdims=keepdim)
    total = jnp.sum(size**ord, axes, keepdims=keepdim)
    # The norm of zero is 0, and so is the gradient that torch gives there.
    return jnp.where(total != 0, jnp.where(total != 0, total, 1) ** (1 / ord), 0)
