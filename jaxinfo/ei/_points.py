r"""Points of the unit cube: pseudo-random, or spread more evenly than chance would.

A family is a function of a key and a dimension that gives the block of points of any number, so
that every sample can be drawn on its own, by its number.
"""

from typing import Literal

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from .._core import fold_in, uniform
from ._intervention import BLOCK, UnitDraw
from ._sobol import sobol_points

Points = Literal["random", "lattice", "sobol"]


def random_points(key: PRNGKeyArray, dimension: int) -> UnitDraw:
    """Independent uniform points: block `k` from `fold_in(key, k)`."""
    return lambda block: uniform(fold_in(key, block), (BLOCK, dimension))


_KOROBOV = 17797  # of order 2**30 modulo 2**32, as 5 modulo 8: the axes of a lattice are distinct


def lattice_points(key: PRNGKeyArray, dimension: int) -> UnitDraw:
    r"""A rank-1 lattice sequence, shifted at random.

    Point $i$ is $\{\varphi_2(i) z + \Delta\}$, with $\varphi_2$ the binary radical inverse,
    $z_j = 17797^j$ and $\Delta$ uniform. In each coordinate the first $2^m$ points lie one in each
    of $2^m$ equal intervals (up to the shift), and any number of points extends any smaller one.

    **Source:** Hickernell, Hong, L'Ecuyer and Lemieux (2000), *Extensible lattice sequences for
    quasi-Monte Carlo quadrature*, SIAM Journal on Scientific Computing 22:1117, for the sequence
    and the generator; Cranley and Patterson (1976) for the shift.
    """
    shift = jr.bits(key, (dimension,), jnp.uint32)
    z = jnp.cumprod(jnp.full(dimension, _KOROBOV, jnp.uint32).at[0].set(1), dtype=jnp.uint32)
    dtype = jnp.result_type(float)
    bits = min(32, jnp.finfo(dtype).nmant + 1)

    def draw(block: Int[Array, ""]) -> Float[Array, "block dimension"]:
        number = (block * BLOCK + jnp.arange(BLOCK)).astype(jnp.uint32)
        # Products and sums modulo 2**32 are those of fractions modulo 1.
        position = _reversed(number)[:, None] * z + shift
        return (position >> (32 - bits)).astype(dtype) * 2.0**-bits

    return draw


def _reversed(word: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """The bits of each word in reverse order."""
    for width, mask in (
        (16, 0x0000FFFF),
        (8, 0x00FF00FF),
        (4, 0x0F0F0F0F),
        (2, 0x33333333),
        (1, 0x55555555),
    ):
        mask = jnp.uint32(mask)
        word = ((word >> width) & mask) | ((word & mask) << width)
    return word


POINTS = {"random": random_points, "lattice": lattice_points, "sobol": sobol_points}
