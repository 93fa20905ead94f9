"""How much of all patterns a sample of gates has seen."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from .._core import checked, public, safe_divide


class Coverage(eqx.Module):
    r"""What the counts of a sample say of the patterns it has not seen.

    With $N$ gates sampled, $f_1$ patterns seen once and $f_2$ seen twice:

    **Fields:**

    - `distinct`: the number of patterns seen.
    - `volume`: the estimated probability that a new gate has a pattern already seen: the part of the
        gates' distribution (for dense gates: of the solid angle) that the seen patterns fill.
    - `total`: the estimated number of patterns with positive probability, seen or not: a lower bound
        on average (Chao 1).
    - `fraction`: `distinct` over the true total if that was given, or else over the estimate.
    """

    distinct: Int[Array, ""]
    volume: Float[Array, ""]
    total: Float[Array, ""]
    fraction: Float[Array, ""]


@public
def coverage(counts: Int[ArrayLike, " p"], *, total: int | None = None) -> Coverage:
    r"""Estimate how much of all patterns has been seen, from the counts of `unique_patterns`.

    $$\text{volume} = 1 - \frac{f_1}{N} \cdot \frac{(N - 1) f_1}{(N - 1) f_1 + 2 f_2}, \qquad
    \text{total} = \text{distinct} + \frac{N - 1}{N} \frac{f_1 (f_1 - 1)}{2 (f_2 + 1)}$$

    **Arguments:**

    - `counts`: how often each distinct pattern was seen; zeros (padding) count nothing.
    - `total`: the true number of patterns where it is known: `enumerate_patterns(X).p`, or
        `num_patterns(n, rank)` in general position.

    **Returns:** a `Coverage`. A sample of nothing has seen 0 of everything.

    **Source:** Good (1953), *The population frequencies of species and the estimation of population
    parameters*, Biometrika 40:237; Chao (1984), Scand. J. Statist. 11:265; the volume in the form of
    Chao and Jost (2012), Ecology 93:2533.

    >>> import jax.numpy as jnp
    >>> seen = coverage(jnp.array([5, 3, 1, 1]), total=8)
    >>> f"{seen.volume:.2f} {seen.total:.1f} {seen.fraction:.1f}"
    '0.80 4.9 0.5'
    """
    counts = jnp.asarray(counts)
    counts = checked(counts, jnp.any(counts < 0), "`counts` must not be negative.")
    n = jnp.sum(counts).astype(float)
    distinct = jnp.sum(counts > 0)
    once, twice = (jnp.sum(counts == k).astype(float) for k in (1, 2))
    # Without patterns seen twice the correction factor is 1, unless there is one sample only.
    unseen = safe_divide((n - 1) * once, (n - 1) * once + 2 * twice, at_zero=1.0)
    volume = jnp.where(n > 0, 1 - safe_divide(once, n) * unseen, 0.0)
    more = safe_divide(n - 1, n) * once * (once - 1) / (2 * (twice + 1))
    estimated = distinct + more
    return Coverage(
        distinct,
        volume,
        estimated,
        safe_divide(distinct.astype(float), estimated if total is None else jnp.float32(total)),
    )
