"""Arrays from sizes. What they depend on is the shape and dtype of their arguments, no value."""

import jax.numpy as jnp

from .._table import torch_operator


@torch_operator("aten.full.default")
def full(size, value, dtype=None):
    return jnp.full(tuple(size), value)


@torch_operator("aten.full_like.default", shape_only=True)
def full_like(x, value, dtype=None):
    return jnp.full(x.shape, value)


@torch_operator("aten.new_full.default", shape_only=True)
def new_full(x, size, value, dtype=None):
    return jnp.full(tuple(size), value)


def _of_size(value):
    return lambda size, dtype=None: jnp.full(tuple(size), value)


def _like(value):
    return lambda x, dtype=None: jnp.full(x.shape, value)


def _new(value):
    return lambda x, size, *stride, dtype=None: jnp.full(tuple(size), value)


# What torch leaves undefined is 0 here.
torch_operator("aten.zeros.default", "aten.empty.memory_format")(_of_size(0))
torch_operator("aten.ones.default")(_of_size(1))
for name, value in (("zeros", 0), ("ones", 1), ("empty", 0)):
    torch_operator(f"aten.{name}_like.default", shape_only=True)(_like(value))
    torch_operator(f"aten.new_{name}.default", shape_only=True)(_new(value))
torch_operator("aten.new_empty_strided.default", shape_only=True)(_new(0))


@torch_operator("aten.empty_strided.default", "aten.empty_permuted.default")
def empty_strided(size, order, dtype=None):
    return jnp.zeros(tuple(size))


@torch_operator("aten.scalar_tensor.default")
def scalar_tensor(value, dtype=None):
    return jnp.asarray(value)


@torch_operator("aten.arange.default")
def arange(end, dtype=None):
    return jnp.arange(end)


@torch_operator("aten.arange.start")
def arange_start(start, end, dtype=None):
    return jnp.arange(start, end)


@torch_operator("aten.arange.start_step")
def arange_start_step(start, end, step=1, dtype=None):
    return jnp.arange(start, end, step)


@torch_operator("aten.linspace.default")
def linspace(start, end, steps, dtype=None):
    return jnp.linspace(start, end, steps)


@torch_operator("aten.eye.default")
def eye(n, dtype=None):
    return jnp.eye(n)


@torch_operator("aten.eye.m")
def eye_m(n, m, dtype=None):
    return jnp.eye(n, m)


@torch_operator("aten.tril_indices.default")
def tril_indices(row, col, offset=0, dtype=None):
    return jnp.stack(jnp.tril_indices(row, offset, col))


@torch_operator("aten.triu_indices.default")
def triu_indices(row, col, offset=0, dtype=None):
    return jnp.stack(jnp.triu_indices(row, offset, col))
