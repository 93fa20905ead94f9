"""From edges of output bins to edges before the activation."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..activations import Activation, as_activation, with_pieces
from ..info import Binning
from ..network import Channel

# The sign of a branch, and the edges of the output bins on it.
Branch = tuple[int, Float[Array, "*neurons edges"]]


def activation_of(channel: Channel, inputs: Binning) -> Activation:
    """The channel's activation with its monotone pieces, looked for if nobody described them.

    Those of the whole line where the function settles down, else of what the weights can reach, for
    which they must be known.
    """
    activation = as_activation(channel.activation)
    try:
        return with_pieces(activation)
    except ValueError:
        # Also what one input reaches while the others are 0.
        reach = jnp.maximum(jnp.abs(inputs.lower), jnp.abs(inputs.upper))
        furthest = jnp.max(jnp.abs(channel.bias) + jnp.sum(jnp.abs(channel.weight), axis=0) * reach)
        try:
            bound = float(jax.lax.stop_gradient(furthest))
        except jax.errors.ConcretizationTypeError:
            bound = math.nan
        if math.isnan(bound):
            raise
    # Rounded up, so that weights that train do not ask for another scan at each step.
    end = 2.0 ** (math.ceil(4 * math.log2(max(bound, 1e-3)) + 0.01) / 4)
    return with_pieces(activation, (-end, end))


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
    interrupted = False
    for piece, inner, last in zip(activation.pieces, below, upto, strict=True):
        x = jnp.concatenate([inner, last], axis=-1)
        if math.isnan(piece.at_start):
            interrupted = True  # values without a bin: what is below a level begins anew
            continue
        if piece.direction < 0:
            found.append((-1, x))
        elif found and found[-1][0] > 0 and not interrupted:
            # A rising branch goes on: what lies below a level ends in the last piece entered.
            found[-1] = 1, jnp.where(x > piece.start, x, found[-1][1])
        else:
            found.append((1, x))
        interrupted = False
    return tuple(found)
