"""Entropy of predictions and agreement of labellings, in **bits** where they are information."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from .._core import number_of_bin, public, safe_divide, undivided, xlog2x
from ._batch import Input, over_batch, rows

Score = Float[Array, "n 1"] | Float[Array, ""]
Mask = Bool[Input, " n"] | None
_MOST_LABELS = 46340
"""Whose square is an index of 32 bits."""


@public
@functools.partial(jax.jit, static_argnames="preserve_batch")
def measure_entropy(
    p: Float[Input, "n classes"], preserve_batch: bool = False, *, mask: Mask = None
) -> Score:
    r"""Shannon entropy of each row of probabilities, in **bits**: $-\sum_j p_{ij} \log_2 p_{ij}$.

    Rows are taken as they are, not normalised. `jaxinfo.info.entropy` is for counts. The gradient
    in an empty cell is 0.

    **Source:** Shannon (1948), *Bell System Technical Journal* 27:379.

    >>> measure_entropy(jnp.array([[0.5, 0.5, 0.0]]))
    Array(1., dtype=float32)
    """
    (p,) = rows("(n, classes)", mask, p=p)
    return over_batch(0 - jnp.sum(xlog2x(p), axis=1), preserve_batch, mask)  # and not -0.0


@public
@functools.partial(jax.jit, static_argnames="preserve_batch")
def measure_perplexity(
    p: Float[Input, "n classes"], preserve_batch: bool = False, *, mask: Mask = None
) -> Score:
    r"""$2^H$ with $H$ the entropy in bits: how many equally likely classes the row amounts to.

    Without `preserve_batch`, $2$ to the mean entropy of the batch. With it, 0 outside the mask.

    **Source:** Jelinek et al. (1977), *J. Acoust. Soc. Am.* 62:S63.

    >>> measure_perplexity(jnp.array([[0.5, 0.5, 0.0]]))
    Array(2., dtype=float32)
    """
    entropy = measure_entropy(p, preserve_batch, mask=mask)
    if preserve_batch and mask is not None:
        return jnp.where(jnp.asarray(mask)[:, None], jnp.exp2(entropy), 0)
    return jnp.exp2(entropy)


@public
@functools.partial(jax.jit, static_argnames="n_labels")
def measure_NMI(
    labels_true: Integer[Input, " n"],
    labels_pred: Integer[Input, " n"],
    n_labels: int,
    *,
    mask: Mask = None,
) -> Float[Array, ""]:
    r"""Normalised mutual information of two labellings: $I / \tfrac12 (H_1 + H_2)$.

    Between 0 (independent) and 1 (the same up to renaming); 1 if both have a single label, or
    no example counts.

    **Arguments:**

    - `n_labels`: labels are $0, \dots, n_\text{labels} - 1$ in both; static under `jit`. Examples
        with a label outside do not count. The table of counts has `n_labels`$^2$ cells.

    **Raises:** `ValueError` for labellings of different length, and for `n_labels` that is not
    between 1 and 46340.

    **Source:** Strehl and Ghosh (2002), *JMLR* 3:583.

    >>> measure_NMI(jnp.array([0, 0, 1, 1]), jnp.array([1, 1, 0, 0]), 2)
    Array(1., dtype=float32)
    """
    joint = _contingency(labels_true, labels_pred, n_labels, mask)
    p = safe_divide(joint, jnp.sum(joint))
    rows, columns = (-jnp.sum(xlog2x(jnp.sum(p, axis=axis))) for axis in (1, 0))
    shared = jnp.clip(rows + columns + jnp.sum(xlog2x(p)), 0, jnp.minimum(rows, columns))
    return safe_divide(2 * shared, rows + columns, at_zero=1.0)


@public
@functools.partial(jax.jit, static_argnames="n_labels")
def measure_ARI(
    labels_true: Integer[Input, " n"],
    labels_pred: Integer[Input, " n"],
    n_labels: int,
    *,
    mask: Mask = None,
) -> Float[Array, ""]:
    r"""Adjusted Rand index: agreement of two labellings on pairs of examples, beyond chance.

    With $n_{ij}$ the contingency table, $a_i$ and $b_j$ its margins, $P(n) = n(n-1)/2$,
    $A = \sum_i P(a_i)$, $B = \sum_j P(b_j)$ and $E = A B / P(n)$,

    $$\frac{\sum_{ij} P(n_{ij}) - E}{\tfrac12 (A + B) - E}.$$

    1 for the same labelling up to renaming, 0 on average for independent ones, possibly negative;
    1 where both are trivial (one label, or as many labels as examples, or no example that counts).

    **Arguments:**

    - `n_labels`: labels are $0, \dots, n_\text{labels} - 1$ in both; static under `jit`. Examples
        with a label outside do not count. The table of counts has `n_labels`$^2$ cells.

    **Raises:** `ValueError` for labellings of different length, and for `n_labels` that is not
    between 1 and 46340.

    **Source:** Hubert and Arabie (1985), *Journal of Classification* 2:193.

    >>> measure_ARI(jnp.array([0, 0, 1, 1]), jnp.array([1, 1, 0, 0]), 2)
    Array(1., dtype=float32)
    """
    joint = _contingency(labels_true, labels_pred, n_labels, mask)
    n = jnp.sum(joint)
    # Everything as a fraction of all pairs, so that float32 keeps its digits.
    together, rows, columns = (
        safe_divide(jnp.sum(table * (table - 1)), n * (n - 1))
        for table in (joint, jnp.sum(joint, axis=1), jnp.sum(joint, axis=0))
    )
    chance = rows * columns
    return safe_divide(together - chance, (rows + columns) / 2 - chance, at_zero=1.0)


def _contingency(a: Input, b: Input, n_labels: int, mask: Mask) -> Float[Array, "labels labels"]:
    if jnp.ndim(a) != 1 or jnp.shape(a) != jnp.shape(b):
        raise ValueError(
            "Expected two arrays of integer labels of the same length; got shapes "
            f"{jnp.shape(a)} and {jnp.shape(b)}."
        )
    if not 1 <= n_labels <= _MOST_LABELS:
        raise ValueError(f"`n_labels` must lie between 1 and {_MOST_LABELS}; got {n_labels}.")
    row, column = number_of_bin(a, n_labels), number_of_bin(b, n_labels)
    inside = (row < n_labels) & (column < n_labels)
    counted = inside if mask is None else inside & mask
    cell = jnp.where(counted, row * n_labels + column, n_labels**2)
    counts = undivided(
        lambda cell: jnp.zeros(n_labels**2, jnp.int32).at[cell].add(1, mode="drop"), cell
    )
    return counts.reshape(n_labels, n_labels).astype(float)
