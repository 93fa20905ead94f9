"""Convolutions of one to three dimensions, and their transposes."""

import jax.numpy as jnp
from jax import lax

from .._table import torch_operator
from ._cpu_convolution import convolve


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

    if transposed or not isinstance(x.shape[0], int):
        out = plain(x, weight)
    else:
        out = convolve(x, weight, strides, padding, dilation, plain)
    if bias is not None:
        out = out + jnp.reshape(bias, (-1, *[1] * n))
    return out[0] if single else out


def _spread(sizes, n):
    """One size for each of `n` axes, where torch lets one stand for all."""
    return list(sizes) * n if len(sizes) == 1 else list(sizes)


def _transposed_kernel(weight, groups):
    """The kernel whose convolution is the transpose: channels exchanged, flipped in space."""
    inputs, outputs, *space = weight.shape
    kernel = jnp.reshape(weight, (groups, inputs // groups, outputs, *space))
    kernel = jnp.reshape(jnp.swapaxes(kernel, 1, 2), (groups * outputs, inputs // groups, *space))
    return jnp.flip(kernel, tuple(range(2, kernel.ndim)))
