"""What a report says of a network: every measurement, before any of it is drawn."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.random as jr
import numpy as np
from jaxtyping import PRNGKeyArray

from .. import connectivity
from .._core import public
from ..ei import Estimate, Sampling, measure
from ..ei._arguments import layers_of
from ..info._binning import valid_bins
from ..network import Topology

MATRIX_PAIRS = 4096  # layers with more pairs of neurons are not drawn as a matrix


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer's part in a report; quantities in bits."""

    name: str
    kind: str
    shape: str
    activation: str
    estimates: dict[str, Estimate]
    matrix: np.ndarray | None

    @property
    def degeneracy(self) -> float:
        """Sensitivity minus EI_parts: what the inputs lose by interfering with each other."""
        estimates = self.estimates
        return float(estimates["sensitivity"].value - estimates["ei_parts"].value)


def as_row(layer: Layer) -> dict[str, str]:
    """A layer as a row of a table, by the names of the columns; every table of a report has these."""
    parts, alone = layer.estimates["ei_parts"], layer.estimates["sensitivity"]
    return {
        "layer": layer.name,
        "neurons": layer.shape,
        "activation": layer.activation,
        "EI parts": _with_error(parts),
        "sensitivity": _with_error(alone),
        "degeneracy": f"{layer.degeneracy:.2f}",
        "bias": f"{float(parts.bias):.3f}",
        "outside": f"{float(parts.outside):.1%}",
    }


def _with_error(estimate: Estimate) -> str:
    """Value and standard error to the error's first digit."""
    value, error = float(estimate.value), float(estimate.standard_error)
    digits = min(max(-math.floor(math.log10(error)), 0), 6) if 0 < error < math.inf else 3
    return f"{value:.{digits}f} ± {error:.{digits}f}"


@dataclasses.dataclass(frozen=True)
class Report:
    """All that was measured of one network, in bits."""

    title: str
    topology: str
    settings: dict[str, Any]
    layers: tuple[Layer, ...]
    graph: dict[str, float]
    training: dict[str, Any] | None = None


@public
def analyze(
    topology: Topology,
    *,
    key: PRNGKeyArray,
    title: str = "model",
    layers: Sequence[Any] | None = None,
    samples: int = 100_000,
    bins: int = 16,
    training: dict[str, Any] | None = None,
    progress: Callable[[str, int | float, int], None] | None = None,
) -> Report:
    """Measure a network for a report: EI_parts and sensitivity of each layer, and its weight graph.

    **Arguments:**

    - `layers`: names or modules; by default all.
    - `samples`: for EI; sensitivity takes a tenth of them for each input neuron.
    - `bins`: for inputs and outputs alike.
    - `training`: what is known of how the model was trained, for the report to show.
    - `progress`: called as `progress(what, done, total)` before each measurement and after each
        batch of samples; `done` counts measurements, and parts of one.

    **Returns:** a `Report`, to be written with `write_report`.

    >>> import equinox as eqx, jax, jax.numpy as jnp, jaxinfo
    >>> model = eqx.nn.MLP(3, 2, 4, 1, jax.nn.sigmoid, key=jax.random.key(0))
    >>> report = analyze(jaxinfo.topology_of(model, jnp.zeros(3)), key=jax.random.key(1), samples=5000)
    >>> [layer.name for layer in report.layers]
    ['layers.0', 'layers.1']
    """
    names = layers_of(topology, layers)
    bins = valid_bins("bins", bins)
    steps = [(name, quantity) for name in names for quantity in ("ei_parts", "sensitivity")]
    what, done = "", 0

    def within(sample: int, of: int) -> None:
        assert progress is not None
        progress(what, done + sample / of, len(steps))

    told = None if progress is None else within
    noise = Sampling(samples=samples, progress=told)
    alone = Sampling(samples=max(samples // 10, 1), progress=told)
    found: dict[str, dict[str, Estimate]] = {name: {} for name in names}
    for done, (name, quantity) in enumerate(steps):
        what = f"{quantity} of {name}"
        if progress is not None:
            progress(what, done, len(steps))
        measured = measure(
            topology,
            layers=[name],
            quantities=[quantity],
            key=key,
            method=alone if quantity == "sensitivity" else noise,
            in_bins=bins,
            out_bins=bins,
            out_range="dynamic" if _unbounded(topology, name) else None,
        )
        found[name].update(jax.device_get(measured[name]))
    if progress is not None:
        progress("weight graph", len(steps), len(steps))
    return Report(
        title,
        repr(topology),
        {"samples": samples, "bins": bins, "seed": np.asarray(jr.key_data(key)).tolist()},
        tuple(_layer(topology, name, found[name]) for name in names),
        _graph(topology),
        training,
    )


def _layer(topology: Topology, name: str, estimates: dict[str, Estimate]) -> Layer:
    channel, node = topology.channel(name), topology.nodes[name]
    drawn = channel.n_in * channel.n_out <= MATRIX_PAIRS
    return Layer(
        name,
        topology.kind(name),
        f"{channel.n_in} to {channel.n_out}",
        str(node["output"]["activation"] or "none"),
        estimates,
        np.asarray(estimates["ei_parts"].pairs) if drawn else None,
    )


def _unbounded(topology: Topology, name: str) -> bool:
    """Whether no activation bounds the layer's output, so that its range must come from the data."""
    activation = topology.nodes[name]["output"]["activation"]
    return activation is None or not np.isfinite([activation.lower, activation.upper]).all()


def _graph(topology: Topology) -> dict[str, float]:
    kinds = {topology.kind(name) for name in topology.names}
    if not kinds & {"linear", "conv", "avg_pool"}:
        return {}
    x = topology.args[0]
    determinism = float(connectivity.determinism(topology, x))
    degeneracy = float(connectivity.degeneracy(topology, x))
    return {"determinism": determinism, "degeneracy": degeneracy, "ei": degeneracy - determinism}
