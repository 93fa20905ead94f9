"""How many neurons are active, how unevenly, how regularly."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Num

from .._core import as_real, at_unit_size, nan_where, over_largest, public, safe_divide, undivided
from ._batch import Input, over_batch, rows

Score = Float[Array, "n 1"] | Float[Array, ""]
Mask = Bool[Input, " n"] | None
Codes = Num[Input, "n d"] | Bool[Input, "n d"]


@public
@functools.partial(jax.jit, static_argnames="preserve_batch")
def measure_sparsity(
    codes: Codes,
    tolerance: ArrayLike = 0.0,
    preserve_batch: bool = True,
    *,
    mask: Mask = None,
) -> Score:
    r"""The fraction of active entries of each code, $|\{j : x_{ij} > \text{tolerance}\}| / d$.

    Low means sparse.
    An entry equal to the tolerance is not active; a code with a NaN has no sparsity (NaN). One
    score a row, unless `preserve_batch` is false. The gradient is 0.

    **Source:** Földiák and Endres (2008), *Scholarpedia* 3:2984.

    >>> measure_sparsity(jnp.array([[0.0, 2.0, 0.0, 0.0]]))
    Array([[0.25]], dtype=float32)
    """
    (codes,) = rows("(n, d)", mask, codes=codes)
    active = (codes > tolerance).astype(codes.dtype)
    active = nan_where(jnp.isnan(codes) | jnp.isnan(tolerance), active)
    return over_batch(jnp.mean(active, axis=1), preserve_batch, mask)


@public
@functools.partial(jax.jit, static_argnames="preserve_batch")
def measure_hoyer_sparsity(
    codes: Codes, preserve_batch: bool = False, *, mask: Mask = None
) -> Score:
    r"""Hoyer's sparsity: $(\sqrt d - \|x\|_1 / \|x\|_2) / (\sqrt d - 1)$.

    1 for a single nonzero entry, 0 if all are equal in size; 0 for a code of zeros. Does not change
    with the scale of the code.

    **Raises:** `ValueError` for codes of fewer than two entries.

    **Source:** Hoyer (2004), *JMLR* 5:1457.

    >>> measure_hoyer_sparsity(jnp.array([[0.0, 3.0], [2.0, 2.0]]), True).round(4)
    Array([[1.],
           [0.]], dtype=float32)
    """
    (codes,) = rows("(n, d)", mask, codes=codes)
    d = codes.shape[1]
    if d < 2:
        raise ValueError(f"Hoyer's sparsity needs codes of at least two entries; got {d}.")
    size = over_largest(jnp.abs(codes), 1)
    squares = jnp.sum(jnp.square(size), axis=1)
    some = squares != 0
    ratio = jnp.sum(size, axis=1) / jnp.sqrt(jnp.where(some, squares, 1))
    score = jnp.where(some, (math.sqrt(d) - ratio) / (math.sqrt(d) - 1), 0)
    return over_batch(score, preserve_batch, mask)


@public
@functools.partial(jax.jit, static_argnames="preserve_batch")
def measure_gini_index(codes: Codes, preserve_batch: bool = True, *, mask: Mask = None) -> Score:
    r"""Gini index of the sizes of a code's entries, in increasing order $|x|_{(1)}, \dots$:

    $$G = \frac{\sum_k (2k - d - 1)\, |x|_{(k)}}{d \sum_k |x|_{(k)}}.$$

    0 if all are equal in size, $1 - 1/d$ for a single nonzero entry; 0 for a code of zeros.

    **Source:** Hurley and Rickard (2009), *IEEE Trans. Inf. Theory* 55:4723.

    >>> measure_gini_index(jnp.array([[0.0, 0.0, 0.0, 5.0]]))
    Array([[0.75]], dtype=float32)
    """
    (codes,) = rows("(n, d)", mask, codes=codes)
    d = codes.shape[1]
    size = over_largest(jnp.abs(codes), 1)
    size = undivided(lambda size: jnp.sort(size, axis=1), size, batch=size)
    weights = 2 * jnp.arange(1, d + 1) - d - 1
    score = safe_divide(jnp.sum(weights * size, axis=1), d * jnp.sum(size, axis=1))
    return over_batch(score, preserve_batch, mask)


@public
@functools.partial(jax.jit, static_argnames="preserve_batch")
def measure_firingRate(
    spikes: Num[Input, "steps neurons"] | Bool[Input, "steps neurons"], preserve_batch: bool = False
) -> Float[Array, "1 neurons"] | Float[Array, ""]:
    r"""Mean number of spikes a step, $\frac{1}{T} \sum_t s_{tj}$.

    One rate per neuron with `preserve_batch`, else the mean of all.

    >>> measure_firingRate(jnp.array([[1, 0], [1, 1]]), preserve_batch=True)
    Array([[1. , 0.5]], dtype=float32)
    """
    rates = jnp.mean(as_real(spikes), axis=0, keepdims=True)
    return rates if preserve_batch else jnp.mean(rates)


@public
@functools.partial(jax.jit, static_argnames="preserve_batch")
def measure_fanoFactor(
    spikes: Num[Input, "steps neurons"] | Bool[Input, "steps neurons"], preserve_batch: bool = False
) -> Float[Array, "1 neurons"] | Float[Array, ""]:
    r"""Fano factor: variance over mean of the spike counts in time, $\sigma_j^2 / \mu_j$.

    One per neuron with `preserve_batch`, else the mean of all.
    1 for a Poisson process, 0 for a regular one. Counts are those of each step (the variance is the
    population's); sum the steps of longer windows first. 0 for a neuron that never fires.

    **Source:** Fano (1947), *Physical Review* 72:26.

    >>> measure_fanoFactor(jnp.array([[1, 0], [1, 2]]), preserve_batch=True)
    Array([[0., 1.]], dtype=float32)
    """

    def factor(counts: Array) -> Array:
        mean = jnp.mean(counts, axis=0, keepdims=True)
        return safe_divide(jnp.var(counts, axis=0, keepdims=True), mean)

    factors = at_unit_size(factor, as_real(spikes), 0)
    return factors if preserve_batch else jnp.mean(factors)
