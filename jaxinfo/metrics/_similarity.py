"""How alike two layers respond."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from .._core import moderate, over_largest, public, undivided
from ._batch import Input, rows

Mask = Bool[Input, " n"] | None


@public
@jax.jit
def measure_Pearson_correlation(
    a: Num[Input, "n d"], b: Num[Input, "n d"], *, mask: Mask = None
) -> Float[Array, " d"]:
    r"""Pearson's correlation of each column of `a` with that of `b`, over the examples.

    $$r_j = \frac{\sum_i (a_{ij} - \bar a_j)(b_{ij} - \bar b_j)}
    {\sqrt{\sum_i (a_{ij} - \bar a_j)^2 \sum_i (b_{ij} - \bar b_j)^2}}.$$

    0 where a column is constant, with a gradient of 0; between -1 and 1 up to rounding.

    **Raises:** `ValueError` if the shapes differ.

    **Source:** Pearson (1895), *Proc. Royal Society* 58:240.

    >>> x = jnp.array([[1.0], [2.0], [3.0]])
    >>> measure_Pearson_correlation(x, 5 - 2 * x).round(4)
    Array([-1.], dtype=float32)
    """
    return undivided(_correlation, *rows("(n, d)", mask, a=a, b=b), mask)


def _correlation(a: Array, b: Array, mask: Mask) -> Float[Array, " d"]:
    a, b = (_unit(_centred(x, mask, 0)) for x in (a, b))
    return jnp.sum(a * b, axis=0)


@public
@jax.jit
def measure_linear_CKA(
    a: Num[Input, "n d1"], b: Num[Input, "n d2"], *, mask: Mask = None
) -> Float[Array, ""]:
    r"""Linear centred kernel alignment of two layers' responses to the same examples.

    With the columns of $A$ and $B$ centred,

    $$\mathrm{CKA} = \frac{\|A^\top B\|_F^2}{\|A^\top A\|_F\, \|B^\top B\|_F}.$$

    Between 0 and 1 (equal up to rotation and scale); 0 where a layer does not respond at all. Costs
    the smaller of $n (d_1 + d_2)^2$ and $n^2 (d_1 + d_2)$ operations.

    **Raises:** `ValueError` if the numbers of examples differ.

    **Source:** Kornblith et al. (2019), arXiv:1905.00414.

    >>> x = jnp.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
    >>> measure_linear_CKA(x, -3 * x[:, ::-1]).round(5)
    Array(1., dtype=float32)
    """
    return undivided(_alignment, *rows("(n, d)", mask, leading=1, a=a, b=b), mask)


def _alignment(a: Array, b: Array, mask: Mask) -> Float[Array, ""]:
    a, b = (_centred(x, mask, None) for x in (a, b))
    n, features = a.shape[0], a.shape[1] + b.shape[1]
    if n < features:
        left, right = a @ a.T, b @ b.T
        cross, own = jnp.sum(left * right), (left, right)
    else:
        cross, own = jnp.sum(jnp.square(a.T @ b)), (a.T @ a, b.T @ b)
    norms = [jnp.sum(jnp.square(gram)) for gram in own]
    some = (norms[0] != 0) & (norms[1] != 0)
    product = jnp.sqrt(jnp.where(some, norms[0], 1)) * jnp.sqrt(jnp.where(some, norms[1], 1))
    return jnp.where(some, cross / product, 0)


def _centred(x: Array, mask: Mask, axis: int | None) -> Array:
    """Columns less their mean over the mask, on the scale of 1 along `axis`; 0 outside the mask."""
    if not len(x):
        return x
    kept = jnp.ones((len(x), 1), bool) if mask is None else jnp.asarray(mask)[:, None]
    x = moderate(x, axis)
    # Less one of the column's own entries first, so that a constant column is exactly 0.
    x = jnp.where(kept, x - x[jnp.argmax(kept)], 0)
    mean = jnp.mean(x, axis=0) * (len(x) / jnp.maximum(jnp.sum(kept), 1)).astype(x.dtype)
    return over_largest(jnp.where(kept, x - mean, 0), axis)


def _unit(x: Array) -> Array:
    """Columns of length 1, or 0."""
    squares = jnp.sum(jnp.square(x), axis=0)
    some = squares != 0
    return jnp.where(some, x / jnp.sqrt(jnp.where(some, squares, 1)), 0)
