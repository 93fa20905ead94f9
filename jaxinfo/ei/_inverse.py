"""From edges of output bins to edges before the activation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..activations import Activation, Piece, as_activation, with_pieces
from ..info import Binning
from ..network import Channel


def activation_of(channel: Channel, inputs: Binning) -> Activation:
    """The channel's activation with its monotone pieces, looked for if nobody described them.

    Those of what the weights can reach; where these are not known, those of the whole line, on which
    the function must settle down.
    """
    activation, dtype = as_activation(channel.activation), inputs.lower.dtype
    if activation.knots:
        return activation
    # Also what one input reaches while the others are 0.
    reach = jnp.maximum(jnp.abs(inputs.lower), jnp.abs(inputs.upper))
    furthest = jnp.max(jnp.abs(channel.bias) + jnp.sum(jnp.abs(channel.weight), axis=0) * reach)
    try:
        bound = float(jax.lax.stop_gradient(furthest))
    except jax.errors.ConcretizationTypeError:
        return with_pieces(activation, dtype=dtype)
    # Rounded up, so that weights that train do not ask for another scan at each step.
    end = 2.0 ** (math.ceil(4 * math.log2(max(bound, 1e-3)) + 0.01) / 4)
    return with_pieces(activation, (-end, end), dtype)


def branches(
    activation: Activation, binning: Binning
) -> tuple[Float[Array, " branches"], Float[Array, "branches *neurons edges"]]:
    r"""For each rising or falling branch of $f$, its sign and the edges $x_j$ before it that bound the bins.

    With $F$ the distribution function of a continuous $Z$ and $s = \pm 1$ the sign of a branch,

    $$P(f(Z) \in \text{bin } j) = \sum_{\text{branches}} s\, (F(x_{j+1}) - F(x_j)).$$

    A bin is closed below and open above, the last one closed: so the mass of a constant piece of
    $f$ (an atom) goes to the bin that holds its value. With `out_of_range="clip"` the outer bins
    reach to infinity. Edges may be infinite.
    """
    levels = binning.edges
    if binning.out_of_range == "clip":
        levels = levels.at[..., 0].set(-jnp.inf).at[..., -1].set(jnp.inf)
    inner = np.arange(binning.bins + 1) < binning.bins
    x = jnp.stack(activation.preimages(levels, strict=jnp.asarray(inner)))
    runs = _runs(activation.pieces)
    # What lies below a level ends in the last piece of a run that it enters.
    starts = jnp.array([piece.start for piece in activation.pieces], x.dtype)
    entered = x > starts.reshape(-1, *[1] * levels.ndim)
    number = jnp.arange(len(starts)).reshape(-1, *[1] * levels.ndim)
    owners = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    last = jax.ops.segment_max(
        jnp.where(entered, number, 0)[np.concatenate(runs)], owners, len(runs)
    )
    firsts = jnp.array([run[0] for run in runs]).reshape(-1, *[1] * levels.ndim)
    edges = jnp.take_along_axis(x, jnp.maximum(last, firsts), axis=0)
    signs = [-1 if activation.pieces[run[0]].direction < 0 else 1 for run in runs]
    return jnp.array(signs, x.dtype), edges


def _runs(pieces: tuple[Piece, ...]) -> list[list[int]]:
    """Pieces on which the function only rises, jumps included, together; each that falls by itself.

    Stretches of NaN, values without a bin, belong to none.
    """
    runs: list[list[int]] = []
    for i, piece in enumerate(pieces):
        if math.isnan(piece.at_start):
            continue
        last = pieces[i - 1] if runs and runs[-1][-1] == i - 1 else None
        if last and min(last.direction, piece.direction) >= 0 and piece.at_start >= last.at_stop:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs
