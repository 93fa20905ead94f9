"""Scores of predictions against targets, in **nats** where they are likelihoods.

All share the last arguments: `preserve_batch`, which returns a column of one score per example
instead of their mean, and `mask`, which says which examples count (those outside it score 0 in the
column). All raise a `ValueError` for arrays whose shapes differ: nothing is broadcast.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Integer, Num, Real

from .._core import nan_where, public
from ._batch import Input, over_batch, rows

Score = Float[Array, "n 1"] | Float[Array, ""]
Mask = Bool[Input, " n"] | None


@public
@jax.jit
def measure_ACC(
    mu: Num[Input, "n classes"],
    y: Num[Input, "n classes"] | Integer[Input, " n"],
    *,
    mask: Mask = None,
) -> Float[Array, ""]:
    r"""Accuracy: the fraction of examples with $\arg\max \mu_i = \arg\max y_i$.

    Of equal entries the first is the largest. `y` may also hold the classes as integers, shape
    `(n,)`. NaN in an example has no largest entry: the accuracy is NaN. The gradient is 0.

    >>> measure_ACC(jnp.array([[0.9, 0.1], [0.8, 0.2]]), jnp.array([[1, 0], [0, 1]]))
    Array(0.5, dtype=float32)
    """
    if jnp.ndim(y) == 1:
        mu, y = rows("(n, classes) and (n,)", mask, leading=1, mu=mu, y=y[:, None])
        unknown, labels = jnp.zeros(len(y), bool), y[:, 0]
    else:
        mu, y = rows("(n, classes)", mask, mu=mu, y=y)
        unknown, labels = jnp.any(jnp.isnan(y), axis=1), jnp.argmax(y, axis=1)
    unknown = unknown | jnp.any(jnp.isnan(mu), axis=1)
    right = nan_where(unknown, (jnp.argmax(mu, axis=1) == labels).astype(mu.dtype))
    return over_batch(right, False, mask)


@public
@functools.partial(jax.jit, static_argnames="preserve_batch")
def measure_MSE(
    mu: Num[Input, "n d"],
    x: Num[Input, "n d"],
    preserve_batch: bool = False,
    *,
    mask: Mask = None,
) -> Score:
    r"""Squared error, summed over features and averaged over the batch: $\|\mu_i - x_i\|^2$.

    Up to a factor 1/2 and a constant, the negative Gaussian log-likelihood of variance 1. Not
    divided by the number of features, as in `ngclearn.utils.metric_utils`.

    >>> measure_MSE(jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 0.0]]))
    Array(5., dtype=float32)
    """
    mu, x = rows("(n, d)", mask, mu=mu, x=x)
    return over_batch(jnp.sum(jnp.square(mu - x), axis=1), preserve_batch, mask)


@public
@functools.partial(jax.jit, static_argnames="preserve_batch")
def measure_BCE(
    p: Float[Input, "n d"],
    x: Num[Input, "n d"],
    offset: Real[ArrayLike, ""] = 1e-7,
    preserve_batch: bool = False,
    *,
    mask: Mask = None,
) -> Score:
    r"""Binary cross entropy, the negative Bernoulli log-likelihood in **nats**:

    $$-\sum_j x_{ij} \ln \tilde p_{ij} + (1 - x_{ij}) \ln (1 - \tilde p_{ij}),$$

    with $\tilde p$ the probabilities clipped to $[\text{offset}, 1 - \text{offset}]$, summed over
    features and averaged over the batch. The logarithms are exact at the clipped ends even where
    `1 - offset` is not a number of the dtype. The gradient of a clipped probability is 0.

    >>> measure_BCE(jnp.array([[0.5, 1.0]]), jnp.array([[1.0, 1.0]]))
    Array(0.6931473, dtype=float32)
    """
    p, x = rows("(n, d)", mask, p=p, x=x)
    log_p, log_q = _log_clipped(p, offset), _log_complement(p, offset)
    return over_batch(0 - jnp.sum(_times(x, log_p) + _times(1 - x, log_q), 1), preserve_batch, mask)


@public
@functools.partial(jax.jit, static_argnames="preserve_batch")
def measure_CatNLL(
    p: Float[Input, "n classes"],
    x: Num[Input, "n classes"],
    offset: Real[ArrayLike, ""] = 1e-7,
    preserve_batch: bool = False,
    *,
    mask: Mask = None,
) -> Score:
    r"""Negative categorical log-likelihood in **nats**: $-\sum_j x_{ij} \ln \tilde p_{ij}$.

    `x` is one-hot (or soft), and $\tilde p$ is clipped to $[\text{offset}, 1 - \text{offset}]$ as
    in `measure_BCE`; averaged over the batch.

    >>> measure_CatNLL(jnp.array([[0.25, 0.75]]), jnp.array([[1.0, 0.0]]))
    Array(1.3862944, dtype=float32)
    """
    p, x = rows("(n, classes)", mask, p=p, x=x)
    return over_batch(0 - jnp.sum(_times(x, _log_clipped(p, offset)), axis=1), preserve_batch, mask)


@public
@functools.partial(jax.jit, static_argnames="preserve_batch")
def measure_KLD(
    p_xHat: Float[Input, "n classes"],
    p_x: Float[Input, "n classes"],
    preserve_batch: bool = False,
    *,
    mask: Mask = None,
) -> Score:
    r"""Kullback-Leibler divergence of prediction from truth, in **nats**:

    $$\frac{1}{N} \sum_i \sum_j p_{ij} \ln \frac{p_{ij}}{\hat p_{ij}}, \qquad 0 \ln 0 := 0.$$

    `p_x` is the truth $p$, `p_xHat` the prediction $\hat p$, one distribution a row. Infinite where
    the prediction excludes what happens, NaN where a probability is negative or NaN. The gradient
    in an empty cell of the truth is 0.

    **Source:** Kullback and Leibler (1951), *Ann. Math. Statist.* 22:79.

    >>> measure_KLD(jnp.array([[0.5, 0.5]]), jnp.array([[1.0, 0.0]]))
    Array(0.6931472, dtype=float32)
    """
    p_xHat, p_x = rows("(n, classes)", mask, p_xHat=p_xHat, p_x=p_x)
    present = p_x != 0  # also where it is no probability, which must not be lost
    truth = jnp.where(present, p_x, 1)
    ratio = jnp.log(truth) - jnp.log(jnp.where(present, p_xHat, 1))
    absent = nan_where(~(p_xHat >= 0), jnp.zeros_like(p_xHat))
    return over_batch(
        jnp.sum(jnp.where(present, truth * ratio, absent), axis=1), preserve_batch, mask
    )


def _log_clipped(p: Array, offset: Any) -> Array:
    low, high = p <= offset, p >= 1 - offset
    middle = jnp.log(jnp.where(low | high, 0.5, p))
    return jnp.where(low, jnp.log(offset), jnp.where(high, jnp.log1p(-offset), middle))


def _log_complement(p: Array, offset: Any) -> Array:
    low, high = p <= offset, p >= 1 - offset
    middle = jnp.log1p(-jnp.where(low | high, 0.5, p))
    return jnp.where(low, jnp.log1p(-offset), jnp.where(high, jnp.log(offset), middle))


def _times(x: Array, log: Array) -> Array:
    """`x * log`, and 0 where `x` is 0 and the logarithm infinite, as it can be for an offset of 0."""
    return jnp.where((x != 0) | jnp.isnan(log), x * log, 0)
