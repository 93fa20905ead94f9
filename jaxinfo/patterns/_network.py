"""The patterns that a network's own units take on data, and the affine map they select."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from .._core import as_inexact, group_rows
from ..activations import Activation
from ..network import Topology, topology_of
from ._activation import finite
from ._distinct import DistinctPatterns
from ._packed import WORD, PackedPatterns, is_active, packed_over_examples

_BLOCK_FLOATS = 2**22  # pre-activations in memory at once


@dataclasses.dataclass(frozen=True)
class Pieces:
    """An elementwise function that is affine on each side of 0: slope and value, each side."""

    above: tuple[float, float]
    below: tuple[float, float]

    def __call__(self, active: Bool[Array, "*shape"], z: Float[Array, "*shape"]) -> Array:
        (slope, value), (slope_below, value_below) = self.above, self.below
        return jnp.where(active, slope, slope_below) * z + jnp.where(active, value, value_below)


def network_patterns(
    model_or_topology: Any, X: Real[ArrayLike, "n ..."], *, strict: bool = False
) -> dict[str, PackedPatterns]:
    r"""Which units of a network are active on which examples, layer by layer.

    A layer counts if its activation is affine on each side of 0 with a kink or a step there: ReLU,
    leaky ReLU of any slope, the absolute value, a threshold. Its units' pattern is $1(z \geq 0)$ of
    the pre-activation. Activations that follow no layer count too: after a sum of branches (the ReLU
    that ends a residual block), a normalisation, or on the input itself. They are named after the
    last layer that leads there, as in `after layers.2`.

    **Arguments:**

    - `model_or_topology`: a model that `topology_of` can trace, or its topology.
    - `X`: examples along the first axis.
    - `strict`: use $1(z > 0)$.

    **Returns:** `{layer: PackedPatterns}` in order of execution; units are numbered in row-major
    order of the layer's output. See `linear_regions`, `summarise_patterns`, and the properties
    `never_active` (dead units) and `always_active` of the patterns.

    **Raises:** `ValueError` if no layer has such an activation, listing what there is, if `X` has
    another shape than the network's input, or for NaN or infinity in `X`.

    **Cost:** one forward pass, a block of examples at a time.

    >>> import equinox as eqx, jax
    >>> model = eqx.nn.MLP(2, 1, width_size=3, depth=2, key=jax.random.key(0))
    >>> patterns = network_patterns(model, jax.random.normal(jax.random.key(1), (100, 2)))
    >>> {layer: units.shape for layer, units in patterns.items()}
    {'layers.0': (100, 3), 'layers.1': (100, 3)}
    """
    X = jnp.asarray(X)
    if X.ndim == 0:
        raise ValueError("`X` must hold examples along its first axis; got a scalar.")
    (X,) = finite(X=X)
    topology = _topology(model_or_topology, jax.ShapeDtypeStruct(X.shape[1:], X.dtype))
    if X.shape[1:] != topology.args[0].shape:
        raise ValueError(
            f"`X` must hold examples of shape {topology.args[0].shape} along its first axis; got "
            f"shape {X.shape}."
        )
    layers = tuple(_pieces_by_layer(topology))
    words = _network_words(topology, X, layers, strict)
    return {layer: PackedPatterns(words[layer], X.shape[0]) for layer in layers}


@eqx.filter_jit
def _network_words(
    topology: Topology, X: Array, layers: tuple[str, ...], strict: bool
) -> dict[str, Array]:
    def pre_activations(x: Array) -> dict[str, Array]:
        values, _ = topology.run(x)
        return {layer: jnp.ravel(values[layer]) for layer in layers}

    units = sum(z.size for z in jax.eval_shape(pre_activations, topology.args[0]).values())
    rows = max(WORD, _BLOCK_FLOATS // units // WORD * WORD)

    return packed_over_examples(jax.vmap(pre_activations), X, rows, strict)


class LayerSummary(eqx.Module):
    """What the patterns of one layer say of it, on the data.

    **Fields:**

    - `dead`: units active on no example.
    - `always_active`: units active on every example.
    - `distinct_patterns`: how many different patterns its units have over the examples.
    - `distinct_codes`: how many different sets of units the examples activate.
    """

    dead: Bool[Array, " p"]
    always_active: Bool[Array, " p"]
    distinct_patterns: Int[Array, ""]
    distinct_codes: Int[Array, ""]


def summarise_patterns(patterns: dict[str, PackedPatterns]) -> dict[str, LayerSummary]:
    """Dead units, units always active, distinct patterns and codes of each layer.

    >>> import jax.numpy as jnp
    >>> layer = PackedPatterns.pack(jnp.array([[0, 1, 1], [0, 1, 0]]))
    >>> summary = summarise_patterns({"layer": layer})["layer"]
    >>> summary.dead, summary.always_active
    (Array([ True, False, False], dtype=bool), Array([False,  True, False], dtype=bool))
    >>> int(summary.distinct_patterns), int(summary.distinct_codes)
    (3, 2)
    """
    return {
        layer: LayerSummary(
            units.never_active,
            units.always_active,
            DistinctPatterns.of(units, size=0).n_distinct,
            DistinctPatterns.of(units.T, size=0).n_distinct,
        )
        for layer, units in patterns.items()
    }


@jax.jit
def linear_regions(patterns: dict[str, PackedPatterns]) -> Int[Array, " n"]:
    """For each example, the first example that activates the same units of every layer.

    Such examples share one linear region of the network (if all else in it is affine), and its
    affine map, which `local_map` gives. The number of regions that the data visits is
    `(regions == jnp.arange(n)).sum()`.

    **Raises:** `ValueError` for no layers, or layers on different numbers of examples.

    >>> import jax.numpy as jnp
    >>> first = PackedPatterns.pack(jnp.array([[0, 1], [1, 1], [0, 1], [1, 1]]))
    >>> second = PackedPatterns.pack(jnp.array([[0], [0], [0], [1]]))
    >>> linear_regions({"first": first, "second": second})
    Array([0, 1, 0, 3], dtype=int32)
    """
    examples = {units.n for units in patterns.values()}
    if len(examples) != 1:
        raise ValueError(
            f"`patterns` must hold layers on the same examples; got {sorted(examples)} examples."
        )
    return group_rows(jnp.concatenate([units.T.words for units in patterns.values()], axis=1))


def local_map(
    model_or_topology: Any, x: Real[ArrayLike, "..."], *, strict: bool = False
) -> tuple[Float[Array, "inputs outputs"], Float[Array, " outputs"]]:
    r"""The affine map $y = x W + b$ that a network applies throughout the region of `x`.

    The units that act as in `network_patterns` are fixed to the side they are on at `x`, and what is
    left is linearised: $W$ is the Jacobian there, transposed. At a kink, where the Jacobian is a
    matter of convention, the side is that of `network_patterns` ($z = 0$ is active unless
    `strict`). If all else in the network is affine, the map is exact in the whole region; a max
    pooling also keeps the choice it makes at `x`; through anything smooth it is the tangent at `x`.

    **Returns:** `(W, b)`, for the input and the first output of the network, flattened.

    **Gradient:** through `W` and `b` to the parameters, with the region held.

    **Raises:** `ValueError` as `network_patterns`.

    >>> import equinox as eqx, jax
    >>> model = eqx.nn.MLP(3, 2, width_size=8, depth=2, key=jax.random.key(0))
    >>> x = jax.random.normal(jax.random.key(1), (3,))
    >>> W, b = local_map(model, x)
    >>> bool(jax.numpy.allclose(x @ W + b, model(x), atol=1e-6))
    True
    """
    (x,) = finite(x=as_inexact(x))
    topology = _topology(model_or_topology, x)
    return _local_map(topology, x, tuple(_pieces_by_layer(topology).items()), strict)


@eqx.filter_jit
def _local_map(
    topology: Topology, x: Array, pieces: tuple[tuple[str, Pieces], ...], strict: bool
) -> tuple[Array, Array]:
    values, _ = topology.run(x)
    held = {
        layer: functools.partial(piece, is_active(values[layer], strict)) for layer, piece in pieces
    }
    y, push = jax.linearize(lambda x: jnp.ravel(topology.run(x, replace=held)[1]), x)
    basis = jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)
    weight = jax.vmap(push)(basis)
    return weight, y - jnp.ravel(x) @ weight


def _topology(model_or_topology: Any, x: Array | jax.ShapeDtypeStruct) -> Topology:
    if isinstance(model_or_topology, Topology):
        return model_or_topology
    return topology_of(model_or_topology, x)


def _pieces_by_layer(topology: Topology) -> dict[str, Pieces]:
    """The layers whose activation has one kink, at 0."""
    activations = topology.activations
    pieces = {layer: _pieces(f) for layer, f in activations.items() if f is not None}
    found = {layer: piece for layer, piece in pieces.items() if piece is not None}
    if not found:
        listed = ", ".join(f"{layer!r}: {f or 'none'}" for layer, f in activations.items())
        raise ValueError(
            "Patterns need a layer whose activation is affine on each side of 0, such as ReLU. The "
            f"activations of this network: {listed}."
        )
    return found


@functools.cache
def _pieces(activation: Activation) -> Pieces | None:
    """Slope and value on each side of 0 if the function is affine there, by its values."""
    z = 2.0 ** np.arange(-4, 8)
    sides = []
    for side in (1, -1):
        with jax.ensure_compile_time_eval():
            y = np.asarray(activation(jnp.asarray(side * z, jnp.float32)), np.float64)
        at_1, at_2 = y[z == 1].item(), y[z == 2].item()
        slope, value = side * (at_2 - at_1), 2 * at_1 - at_2
        if not np.allclose(slope * side * z + value, y, rtol=1e-5, atol=1e-5):
            return None
        sides.append((slope, value))
    above, below = sides
    return None if above == below else Pieces(above, below)
