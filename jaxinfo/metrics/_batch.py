"""From one score per example to the answer."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .._core import as_real

Input = Array | np.ndarray


def rows(
    expected: str, mask: Bool[Input, " n"] | None, *, leading: int | None = None, **inputs: Input
) -> list[Array]:
    """The inputs as real numbers, 0 in the rows outside the mask: nothing there reaches a gradient.

    **Raises:** `ValueError` unless all are matrices of one shape (in the `leading` axes), and the
    mask has one entry an example.
    """
    shapes = {name: jnp.shape(x) for name, x in inputs.items()}
    if any(len(shape) != 2 for shape in shapes.values()) or (
        len({shape[:leading] for shape in shapes.values()}) > 1
    ):
        listed = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items())
        same = "the same" if leading is None else "as many examples"
        raise ValueError(
            f"Expected arrays of shape {expected}, one example a row, {same} in all; got {listed}."
        )
    arrays = [as_real(x) for x in inputs.values()]
    if mask is None:
        return arrays
    n = len(arrays[0])
    if jnp.shape(mask) != (n,):
        raise ValueError(
            f"`mask` must have one entry for each of the {n} examples; got shape {jnp.shape(mask)}."
        )
    kept = jnp.asarray(mask)[:, None]
    return [jnp.where(kept, x, 0) for x in arrays]


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
