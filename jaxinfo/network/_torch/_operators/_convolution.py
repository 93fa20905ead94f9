"""Convolutions of one to three dimensions, and their transposes."""

import functools
import itertools
import math

import jax.numpy as jnp
from jax import lax

from .._table import torch_operator
from ._batched_convolution import convolve


@torch_operator("aten.convolution.default")
def convolution(x, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    n = weight.ndim - 2
    single = x.ndim == n + 1
    x = x[None] if single else x
    stride, padding, dilation, output_padding = (
        _spread(sizes, n) for sizes in (stride, padding, dilation, output_padding)
    )
    if transposed:
        weight = _transposed_kernel(weight, groups)
        reach = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        padding = [
            (r - p, r - p + o) for r, p, o in zip(reach, padding, output_padding, strict=True)
        ]
        strides, spread = [1] * n, stride
    else:
        padding = [(p, p) for p in padding]
        strides, spread = stride, [1] * n
    axes = "DHW"[3 - n :]

    def plain(x, weight):
        return lax.conv_general_dilated(
            x,
            weight,
            strides,
            padding,
            lhs_dilation=spread,
            rhs_dilation=dilation,
            dimension_numbers=(f"NC{axes}", f"OI{axes}", f"NC{axes}"),
            feature_group_count=groups,
        )

    free = transposed or not isinstance(x.shape[0], int)  # the forms below need the sizes
    if not free and _is_depthwise(x, weight, groups):
        depthwise = functools.partial(
            _depthwise, strides=strides, padding=padding, dilation=dilation
        )
        out = lax.platform_dependent(x, weight, cpu=depthwise, default=plain)
    elif not free and n == 2 and groups == 1:
        out = convolve(x, weight, strides, padding, dilation, plain)
    else:
        out = plain(x, weight)
    if bias is not None:
        out = out + jnp.reshape(bias, (-1, *[1] * n))
    return out[0] if single else out


def _is_depthwise(x, weight, groups):
    """One kernel of few taps for each channel, in a type that can hold their sum."""
    one_each = weight.shape[:2] == (groups, 1) and x.shape[1] == groups
    return one_each and math.prod(weight.shape[2:]) <= 25 and x.dtype.itemsize >= 4


def _depthwise(x, weight, strides, padding, dilation):
    """A sum of shifted multiples, which XLA fuses; its own depthwise convolution is slow on CPUs."""
    x = jnp.pad(x, [(0, 0), (0, 0), *padding])
    sizes = zip(x.shape[2:], weight.shape[2:], strides, dilation, strict=True)
    reach = [(length - d * (k - 1) - 1) // s * s + 1 for length, k, s, d in sizes]
    total = jnp.zeros((), x.dtype)
    for tap in itertools.product(*map(range, weight.shape[2:])):
        slices = (
            slice(t * d, t * d + r, s)
            for t, d, r, s in zip(tap, dilation, reach, strides, strict=True)
        )
        factor = jnp.reshape(weight[(slice(None), 0, *tap)], (-1, *[1] * len(tap)))
        total = total + x[(slice(None), slice(None), *slices)] * factor
    return total


def _spread(sizes, n):
    """One size for each of `n` axes, where torch lets one stand for all."""
    return list(sizes) * n if len(sizes) == 1 else list(sizes)


def _transposed_kernel(weight, groups):
    """The kernel whose convolution is the transpose: channels exchanged, flipped in space."""
    inputs, outputs, *space = weight.shape
    kernel = jnp.reshape(weight, (groups, inputs // groups, outputs, *space))
    kernel = jnp.reshape(jnp.swapaxes(kernel, 1, 2), (groups * outputs, inputs // groups, *space))
    return jnp.flip(kernel, tuple(range(2, kernel.ndim)))
