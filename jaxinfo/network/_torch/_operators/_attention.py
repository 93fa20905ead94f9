"""Scaled dot-product attention and the softmax family."""

import math

import jax
import jax.numpy as jnp

from .._table import torch_operator
from ._reductions import axes_of


@torch_operator("aten.scaled_dot_product_attention.default")
def attention(
    query,
    key,
    value,
    attn_mask=None,
    dropout_p=0.0,
    is_causal=False,
    *,
    scale=None,
    enable_gqa=False,
):
    if enable_gqa:  # one head of keys and values serves several of queries
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (jnp.repeat(x, repeats, axis=-3) for x in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = jnp.einsum("...qd,...kd->...qk", query * scale, key)
    if is_causal:
        attn_mask = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    if attn_mask is not None and attn_mask.dtype == bool:
        scores = jnp.where(attn_mask, scores, -jnp.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return jnp.einsum("...qk,...kd->...qd", safe_softmax(scores, -1), value)


@torch_operator("aten._safe_softmax.default")
def safe_softmax(x, dim, dtype=None):
    """Softmax that is 0 where everything is masked."""
    masked = jnp.all(x == -jnp.inf, axis=dim, keepdims=True)
    return jnp.where(masked, 0, jax.nn.softmax(jnp.where(masked, 0, x), axis=dim))


@torch_operator("aten._softmax.default", "aten.softmax.int")
def softmax(x, dim, half_to_float=False):
    return jax.nn.softmax(x, axis=axes_of(x, dim))


@torch_operator("aten._log_softmax.default", "aten.log_softmax.int")
def log_softmax(x, dim, half_to_float=False):
    return jax.nn.log_softmax(x, axis=axes_of(x, dim))


@torch_operator("aten.logsumexp.default")
def logsumexp(x, dim, keepdim=False):
    return jax.nn.logsumexp(x, axis=axes_of(x, dim), keepdims=keepdim)


@torch_operator("aten.glu.default")
def glu(x, dim=-1):
    return jax.nn.glu(x, axis=dim)
