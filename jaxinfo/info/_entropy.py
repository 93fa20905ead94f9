"""Entropy and mutual information of a table, in bits."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Num

from .._core import as_real, moderate, nan_where, public, safe_divide, xlog2x


@public
def entropy(table: Num[ArrayLike, "*batch cells"]) -> Float[Array, "*batch"]:
    r"""Shannon entropy of counts or weights along the last axis, in **bits**.

    $$H = -\sum_i p_i \log_2 p_i, \qquad p_i = n_i / \sum_j n_j, \qquad 0 \log 0 := 0.$$

    **Arguments:**

    - `table`: counts, weights or probabilities, non-negative, of any dtype and size; they are
        normalised here.

    **Returns:** a number between 0 and $\log_2$ of the number of cells; NaN for an empty table,
    and for one with a negative entry. Differentiable in the table; the gradient at an empty cell
    leaves out that cell's own infinite term. Cost: one pass.

    >>> import jax.numpy as jnp
    >>> entropy(jnp.array([1, 1, 2]))
    Array(1.5, dtype=float32)
    """
    p = _normalised(table, axis=-1)
    return -jnp.sum(xlog2x(p), axis=-1)


@public
def mutual_information(table: Num[ArrayLike, "*batch rows columns"]) -> Float[Array, "*batch"]:
    r"""Mutual information of the two variables of a joint table, in **bits**.

    $$I = \sum_{ij} p_{ij} \log_2 \frac{p_{ij}}{p_{i\cdot}\, p_{\cdot j}}, \qquad 0 \log 0 := 0.$$

    This is the plug-in value. For a table of $N$ samples of independent variables it is too large
    by about $(R - 1)(C - 1) / (2 N \ln 2)$ bits, for $R \times C$ reachable cells.

    **Arguments:**

    - `table`: counts, weights or probabilities, non-negative, of any dtype and size; they are
        normalised here.

    **Returns:** a number between 0 and the smaller of the two entropies, up to rounding; NaN for an
    empty table, and for one with a negative entry. Differentiable in the table, as `entropy` is.
    Cost: one pass.

    >>> import jax.numpy as jnp
    >>> mutual_information(jnp.eye(4))  # four values, copied faithfully
    Array(2., dtype=float32)
    """
    return shared_bits(_normalised(table, axis=(-2, -1)))


def shared_bits(p: Float[Array, "*batch rows columns"]) -> Float[Array, "*batch"]:
    """The mutual information of a table of probabilities, which add up to 1 as they are."""
    rows, columns = jnp.sum(p, axis=-1, keepdims=True), jnp.sum(p, axis=-2, keepdims=True)
    # The ratio keeps digits that a difference of three entropies would cancel.
    present = p != 0  # also where it is NaN, which must not be lost
    ratio = safe_divide(safe_divide(p, rows), columns)
    bits = jnp.where(present, p * jnp.log2(jnp.where(present, ratio, 1)), 0)
    total = jnp.sum(bits, axis=(-2, -1))
    return jnp.where(total < 0, 0, total)  # rounding of an independent table; keeps NaN


def _normalised(table: Num[ArrayLike, "..."], axis: int | tuple[int, ...]) -> Array:
    weights = moderate(as_real(table), axis)
    weights = nan_where(weights < 0, weights)
    return weights / jnp.sum(weights, axis=axis, keepdims=True)
