"""Complex numbers and discrete Fourier transforms."""

import math

import jax.numpy as jnp
from jax import lax

from .._table import torch_operator

torch_operator("aten.complex.default", pointwise=True)(
    lambda x, y: lax.complex(*jnp.broadcast_arrays(x, y))
)
torch_operator("aten.real.default", pointwise=True)(jnp.real)
torch_operator("aten.imag.default", pointwise=True)(jnp.imag)
torch_operator(
    "aten.conj.default", "aten._conj.default", "aten._conj_physical.default", pointwise=True
)(jnp.conj)


@torch_operator("aten.angle.default", pointwise=True)
def angle(x):
    if jnp.iscomplexobj(x):
        return jnp.angle(x)
    turned = jnp.where(x < 0, jnp.pi, 0)  # that of minus zero is 0
    return jnp.where(x == x, turned, x) if jnp.issubdtype(x.dtype, jnp.inexact) else turned


@torch_operator("aten.resolve_conj.default", "aten.resolve_neg.default", pointwise=True)
def resolve(x):
    return x  # torch marks an array as conjugated or negated; here it is


@torch_operator("aten.polar.default", pointwise=True)
def polar(radius, angle):
    return lax.complex(radius * jnp.cos(angle), radius * jnp.sin(angle))


def view_as_complex(x):
    return lax.complex(x[..., 0], x[..., 1])


def view_as_real(x):
    return jnp.stack([jnp.real(x), jnp.imag(x)], axis=-1)


for function in (view_as_complex, view_as_real):
    for name in (f"aten.{function.__name__}.default", f"aten.{function.__name__}_copy.default"):
        torch_operator(name, single=function)(function)


def _scaled(x, normalization, sizes):
    """torch's numbers for no scale, the one that keeps norms, and one over the number of entries."""
    return x * (1.0, math.prod(sizes) ** -0.5, 1 / math.prod(sizes))[normalization]


def _axis_by_axis(transform, x, dims):
    # `jnp.fft.fftn` takes three axes at most.
    for axis in dims:
        x = transform(x, axis=axis)
    return x


@torch_operator("aten._fft_c2c.default")
def fft_c2c(x, dim, normalization, forward):
    transformed = _axis_by_axis(jnp.fft.fft if forward else _ifft, x, dim)
    return _scaled(transformed, normalization, [x.shape[axis] for axis in dim])


def _ifft(x, axis):
    return jnp.fft.ifft(x, axis=axis, norm="forward")  # without a scale of its own


@torch_operator("aten._fft_r2c.default")
def fft_r2c(x, dim, normalization, onesided):
    first = (jnp.fft.rfft if onesided else jnp.fft.fft)(x, axis=dim[-1])
    transformed = _axis_by_axis(jnp.fft.fft, first, dim[:-1])
    return _scaled(transformed, normalization, [x.shape[axis] for axis in dim])


@torch_operator("aten._fft_c2r.default")
def fft_c2r(x, dim, normalization, last_dim_size):
    x = _axis_by_axis(_ifft, x, dim[:-1])
    transformed = jnp.fft.irfft(x, last_dim_size, axis=dim[-1], norm="forward")
    sizes = [*(x.shape[axis] for axis in dim[:-1]), last_dim_size]
    return _scaled(transformed, normalization, sizes)
