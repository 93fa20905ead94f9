"""Sines of many multiples of an angle, and products of many factors, cheap to differentiate."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def waves(
    turns: Float[Array, "*shape"], terms: int
) -> tuple[Float[Array, "*shape terms"], Float[Array, "*shape terms"]]:
    r"""$\cos 2 \pi k x$ and $\sin 2 \pi k x$ for $k = 1 \dots \text{terms}$.

    By a polynomial on a quarter of a turn: in units of turns reduction costs one rounding, and XLA
    compiles and runs this many times faster than its own sine.
    """
    x = (turns - jnp.round(turns))[..., None] * jnp.arange(1, terms + 1, dtype=turns.dtype)
    x = x - jnp.round(x)
    from_top = 0.25 - jnp.abs(x)
    folded = jnp.sign(x) * (0.25 - jnp.abs(from_top))
    return _sine(from_top), _sine(folded)


def _sine(turns: Array) -> Array:
    """$\\sin 2 \\pi x$ for $|x| \\le 1/4$, by its power series."""
    last = 12 if jnp.finfo(turns.dtype).nmant > 30 else 7
    square, total = turns**2, 0.0
    for k in reversed(range(last)):
        total = total * square + (-1) ** k * (2 * math.pi) ** (2 * k + 1) / math.factorial(
            2 * k + 1
        )
    return total * turns


@waves.defjvp
def _(terms, primals, tangents):
    cos, sin = waves(primals[0], terms)
    k = 2 * math.pi * jnp.arange(1, terms + 1, dtype=cos.dtype)
    moved = k * tangents[0][..., None]
    return (cos, sin), (-sin * moved, cos * moved)


def sincs(turns: Float[Array, "*shape"], terms: int) -> Float[Array, "*shape terms"]:
    r"""$\sin(2 \pi k x) / (2 \pi k x)$ for $k = 1 \dots \text{terms}$.

    Finite derivatives at 0, and where $x^2$ underflows.
    """
    return _sinc(2 * math.pi * jnp.arange(1, terms + 1, dtype=turns.dtype) * turns[..., None])


@jax.custom_jvp
def _sinc(t: Array) -> Array:
    return _sinc_and_slope(t)[0]


@_sinc.defjvp
def _(primals, tangents):
    value, slope = _sinc_and_slope(primals[0])
    return value, slope * tangents[0]


def _sinc_and_slope(t: Array) -> tuple[Array, Array]:
    small = jnp.abs(t) < 0.5
    near, far = jnp.where(small, t, 0), jnp.where(small, 1, t)
    x = near**2
    series, slope, factor = jnp.ones_like(t), jnp.zeros_like(t), 1.0
    for k in range(1, 8):
        factor = -factor / (2 * k * (2 * k + 1))
        series = series + factor * x**k
        slope = slope + 2 * k * factor * near * x ** (k - 1)
    wave = jnp.sin(far) / far
    return (
        jnp.where(small, series, wave),
        jnp.where(small, slope, (jnp.cos(far) - wave) / far),
    )


def product(factors: Float[Array, "n *rest"]) -> Float[Array, "*rest"]:
    """The product over the first axis, with a derivative that divides by no factor."""
    return _products(factors)[-1][0]


def all_but_one(factors: Float[Array, "n *rest"]) -> Float[Array, "n *rest"]:
    """For each row, the product of the other rows, without dividing by a factor that may be 0.

    Down the tree of partial products: what is not below a node is what is not below its parent,
    times its sibling.
    """
    others = jnp.ones_like(factors[:1])
    for level in reversed(_products(factors)[:-1]):
        pairs = level.reshape(-1, 2, *level.shape[1:])
        others = (others[:, None] * pairs[:, ::-1]).reshape(level.shape)
    return others[: factors.shape[0]]


def _products(factors: Array) -> list[Array]:
    """Products of one row, of two, of four, ... rows, filled up with ones."""
    n = factors.shape[0]
    size = 1 << (n - 1).bit_length()
    filling = jnp.ones((size - n, *factors.shape[1:]), factors.dtype)
    levels = [jnp.concatenate([factors, filling])]
    while levels[-1].shape[0] > 1:
        levels.append(levels[-1][0::2] * levels[-1][1::2])
    return levels
