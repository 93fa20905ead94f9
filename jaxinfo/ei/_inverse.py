"""From edges of output bins to edges before the activation."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from ..activations import Activation
from ..info import Binning

# The sign of a branch, and the edges of the output bins on it.
Branch = tuple[int, Float[Array, "*neurons edges"]]


def branches(activation: Activation, binning: Binning) -> tuple[Branch, ...]:
    r"""For each rising or falling branch of $f$, the edges $x_j$ before it that bound the bins.

    With $F$ the distribution function of a continuous $Z$ and $s = \pm 1$ the sign of a branch,

    $$P(f(Z) \in \text{bin } j) = \sum_{\text{branches}} s\, (F(x_{j+1}) - F(x_j)).$$

    A bin is closed below and open above, the last one closed: so the mass of a constant piece of
    $f$ (an atom) goes to the bin that holds its value. With `out_of_range="clip"` the outer bins
    reach to infinity. Edges may be infinite.
    """
    levels = binning.edges
    if binning.out_of_range == "clip":
        levels = levels.at[..., 0].set(-jnp.inf).at[..., -1].set(jnp.inf)
    below = activation.preimages(levels[..., :-1], strict=True)
    upto = activation.preimages(levels[..., -1:])
    found: list[Branch] = []
    for piece, inner, last in zip(activation.pieces, below, upto, strict=True):
        x = jnp.concatenate([inner, last], axis=-1)
        if piece.direction < 0:
            found.append((-1, x))
        elif found and found[-1][0] > 0:
            # A rising branch goes on: what lies below a level ends in the last piece entered.
            found[-1] = 1, jnp.where(x > piece.start, x, found[-1][1])
        else:
            found.append((1, x))
    return tuple(found)
