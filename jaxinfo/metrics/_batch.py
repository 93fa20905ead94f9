"""From one score per example to the answer."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

Input = Array | np.ndarray


def over_batch(
    scores: Float[Array, " n"], preserve_batch: bool, mask: Bool[Input, " n"] | None
) -> Float[Array, "n 1"] | Float[Array, ""]:
    """The mean score of the examples in the mask, or all of them as a column (0 outside it).

    NaN for the mean of no examples.
    """
    kept = scores if mask is None else jnp.where(mask, scores, 0)
    if preserve_batch:
        return kept[:, None]
    return jnp.mean(kept) if mask is None else jnp.sum(kept) / jnp.sum(mask)
