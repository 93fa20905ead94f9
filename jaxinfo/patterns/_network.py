"""The patterns that a network's own units take on data, and the affine map they select."""

import functools
import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Real

from .._core import as_inexact, group_rows, public, undivided, values_now
from ..activations import Activation
from ..network import Topology, topology_of
from ._activation import finite
from ._distinct import DistinctPatterns
from ._packed import WORD, PackedPatterns, is_active, packed_over_examples

_BLOCK_FLOATS = 2**22  # pre-activations in memory at once

Kinks = tuple[tuple[str, tuple[float, ...]], ...]  # layers, and where their activations have kinks


@public
def network_patterns(
    model_or_topology: Topology | Callable[..., Any],
    X: Real[ArrayLike, "n ..."],
    *,
    strict: bool = False,
) -> dict[str, PackedPatterns]:
    r"""Which units of a network are active on which examples, layer by layer.

    A layer counts if its activation is affine but for kinks or steps: ReLU, leaky ReLU of any slope,
    PReLU, the absolute value, a threshold, `relu6`, `hard_tanh`. Its units' pattern is
    $1(z \geq t)$ of the pre-activation, with $t$ the place of the kink, 0 for most. With several kinks
    the layer stands once for each, as in `layers.0 at 6`. Activations that follow no layer count too:
    after a sum of branches (the ReLU that ends a residual block), a normalisation, or on the input
    itself. They are named after the last layer that leads there, as in `after layers.2`. What is not
    counted: kinks whose place is learned, and the choices of a max pooling, which a warning lists;
    kinks outside [-32, 32], which are not seen.

    **Arguments:**

    - `model_or_topology`: a model that `topology_of` can trace, or its topology.
    - `X`: examples along the first axis.
    - `strict`: use $1(z > t)$.

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
    kinks = tuple(_kinks_by_layer(topology).items())
    _warn_of_uncounted(topology)
    words = undivided(_network_words, topology, X, kinks, strict)
    names = [name for layer, places in kinks for name in _names(layer, places)]
    return {name: PackedPatterns(words[name], X.shape[0]) for name in names}


@eqx.filter_jit
def _network_words(topology: Topology, X: Array, kinks: Kinks, strict: bool) -> dict[str, Array]:
    def pre_activations(x: Array) -> dict[str, Array]:
        values, _ = topology.run(x)
        return {
            name: jnp.ravel(values[layer]) - place  # of the sign of the exact difference
            for layer, places in kinks
            for name, place in zip(_names(layer, places), places, strict=True)
        }

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


@public
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


@public
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


@public
def local_map(
    model_or_topology: Topology | Callable[..., Any],
    x: Real[ArrayLike, "..."],
    *,
    strict: bool = False,
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
    return _local_map(topology, x, tuple(_kinks_by_layer(topology).items()), strict)


@eqx.filter_jit
def _local_map(topology: Topology, x: Array, kinks: Kinks, strict: bool) -> tuple[Array, Array]:
    values, _ = topology.run(x)
    held = {
        layer: _held(functools.partial(topology.act, layer), values[layer], places, strict)
        for layer, places in kinks
    }
    y, push = jax.linearize(lambda x: jnp.ravel(topology.run(x, replace=held)[1]), x)
    basis = jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)
    weight = jax.vmap(push)(basis)
    return weight, y - jnp.ravel(x) @ weight


def _held(
    activation: Callable[[Array], Array], z: Array, places: tuple[float, ...], strict: bool
) -> Callable[[Array], Array]:
    """The affine piece of the activation that each entry of `z` is on, as a function of anything.

    By its values at two points inside: a derivative could be a surrogate.
    """
    first, last = places[0], places[-1]
    between = np.array(list(itertools.pairwise(places))).reshape(-1, 2)
    inside = between @ np.array([[0.75, 0.25], [0.25, 0.75]])
    points = jnp.asarray([[first - 2, first - 1], *inside, [last + 1, last + 2]], z.dtype)
    piece = sum(is_active(z - place, strict).astype(jnp.int32) for place in places)
    sides = [piece == i for i in range(len(points))]
    low, high = jnp.select(sides, list(points[:, 0])), jnp.select(sides, list(points[:, 1]))
    dtype = jax.eval_shape(activation, z).dtype  # of a gate: bool
    at_low, at_high = activation(low).astype(z.dtype), activation(high).astype(z.dtype)
    slope = (at_high - at_low) / (high - low)
    return lambda z: (slope * z + (at_low - slope * low)).astype(dtype)


def _topology(
    model_or_topology: Topology | Callable[..., Any], x: Array | jax.ShapeDtypeStruct
) -> Topology:
    if isinstance(model_or_topology, Topology):
        return model_or_topology
    return topology_of(model_or_topology, x)


def _names(layer: str, places: tuple[float, ...]) -> list[str]:
    return [layer] if len(places) == 1 else [f"{layer} at {place:g}" for place in places]


def _kinks_by_layer(topology: Topology) -> dict[str, tuple[float, ...]]:
    """The layers whose activation is affine but for kinks, and where those are."""
    found = {}
    for layer in topology.activations:
        # The kinks of a learned one count if they stay where they are as it learns.
        kinks, *others = _kinks_of_any(topology, layer)
        if kinks and not others:
            found[layer] = kinks
    if not found:
        listed = ", ".join(f"{layer!r}: {f or 'none'}" for layer, f in topology.activations.items())
        raise ValueError(
            "Patterns need a layer whose activation is affine but for kinks, such as ReLU. The "
            f"activations of this network: {listed}."
        )
    return found


def _kinks_of_any(topology: Topology, layer: str) -> set[tuple[float, ...]]:
    """Where the activation of a layer has kinks, for two values of its parameters if it has any."""
    return {_kinks(topology.activation_at(layer, parameters)) for parameters in (0.1, 0.5)}


def _warn_of_uncounted(topology: Topology) -> None:
    """Say so if the model makes choices that are no patterns: its regions are then divided further.

    Smooth activations make none.
    """
    learned = [name for name in topology.activations if len(_kinks_of_any(topology, name)) > 1]
    pools = [name for name in topology.names if topology.kind(name) in ("max_pool", "min_pool")]
    if learned or pools:
        warnings.warn(
            "The patterns leave out what is chosen by a max or min pooling, or by an activation whose "
            f"kinks have learned places: {', '.join(map(repr, (*learned, *pools)))}. Examples with "
            "equal patterns may differ there, and then lie in different linear regions.",
            stacklevel=3,
        )


@functools.lru_cache(maxsize=512)
def _kinks(activation: Activation | None) -> tuple[float, ...]:
    """Where the function has kinks or steps, if it is affine in between; by its values on a grid.

    Empty for an affine function, and for one that is not affine in pieces (of a quarter at least).
    """
    if activation is None:
        return ()

    def values(z: np.ndarray) -> np.ndarray:
        return np.asarray(values_now(activation, z.astype(np.float32)), np.float64)

    far = 1.1 * 2.0 ** np.arange(6, 13)
    # Off the round numbers, where steps may have a value of their own.
    near = np.arange(-256, 257) / 8 + 1e-3 / math.pi
    z = np.concatenate([-far[::-1], near, far]).astype(np.float32).astype(np.float64)
    pieces = itertools.pairwise(_pieces(z, values(z)))
    return tuple(_kink_between(before, after, values) for before, after in pieces)


class _Piece(NamedTuple):
    """A straight stretch of a function: its line, and the first and the last point seen on it."""

    slope: float
    value: float
    """Of the line at 0."""
    first: float
    last: float

    def at(self, z: np.ndarray) -> np.ndarray:
        return self.slope * z + self.value


def _pieces(z: np.ndarray, y: np.ndarray) -> list[_Piece]:
    """The straight stretches of a function with values `y` at `z`; none if it has other parts."""
    if not np.all(np.isfinite(y)):
        return []
    slopes = np.diff(y) / np.diff(z)
    bends = np.abs(np.diff(slopes)) > 2.0**-12 * (1 + np.abs(slopes[1:]))
    edges = [0, *np.flatnonzero(bends) + 1, len(slopes)]
    # Stretches of two cells or more; a cell between two of them holds a kink.
    ends = [(i, j) for i, j in itertools.pairwise(edges) if j > i + 1]
    gaps = [start - stop for (_, stop), (start, _) in itertools.pairwise(ends)]
    if not ends or (ends[0][0], ends[-1][1]) != (0, len(slopes)) or max(gaps, default=0) > 1:
        return []
    pieces = []
    for i, j in ends:
        # Through points inside, as a kink may be close to an end, and not far out.
        inside = np.flatnonzero(np.abs(z[i : j + 1]) < 40) + i
        a, b = inside[[1, -2] if len(inside) > 3 else [0, -1]] if len(inside) > 1 else (i, j)
        slope = (y[b] - y[a]) / (z[b] - z[a])
        if not np.allclose(
            y[a] + slope * (z - z[a])[i : j + 1], y[i : j + 1], rtol=1e-5, atol=1e-4
        ):
            return []
        piece = _Piece(*map(float, (slope, y[a] - slope * z[a], z[i], z[j])))
        if pieces and np.allclose(pieces[-1][:2], piece[:2]):
            return []  # a spike in one line
        pieces.append(piece)
    return pieces


def _kink_between(
    before: _Piece, after: _Piece, values: Callable[[np.ndarray], np.ndarray]
) -> float:
    """Where one piece of a function gives way to the next."""
    left, right, precision = before.last, after.first, 1e-6
    if not np.isclose(before.slope, after.slope):
        place = (before.value - after.value) / (after.slope - before.slope)
        precision = 1e-5 / min(1, abs(after.slope - before.slope))
    else:
        place = np.inf
    if not left - 1e-3 <= place <= right + 1e-3:  # a step
        for _ in range(3):
            fine = np.linspace(left, right, 257)
            off, off_after = (np.abs(values(fine) - piece.at(fine)) for piece in (before, after))
            first = max(1, int(np.argmax(off_after < off)))
            left, right = fine[first - 1], fine[first]
        place = right
    nearest = round(float(place), 3) + 0.0  # the values are rounded
    return float(nearest if abs(nearest - place) < precision * (1 + abs(place)) else place)
