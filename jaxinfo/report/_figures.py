"""Figures people look at; each takes a report or a matrix and returns a matplotlib figure."""

from typing import Any

import numpy as np
from jaxtyping import Array, Real

from .._core import public, require
from ._report import Report

INK, ACCENT, QUIET = "#1f2933", "#2166ac", "#b2182b"
COLOURS = "viridis"


@public
def ei_matrix(matrix: Real[Array | np.ndarray, "n_in n_out"], name: str) -> Any:
    """The EI of each connection of a layer: a row an input neuron, a column an output neuron."""
    figure, axes = _figure(width=3.2 + 0.06 * matrix.shape[1], height=2.6 + 0.03 * matrix.shape[0])
    image = axes.imshow(matrix, aspect="auto", cmap=COLOURS, vmin=0, interpolation="nearest")
    axes.set(
        title=f"EI of each connection of {name}", xlabel="output neuron", ylabel="input neuron"
    )
    axes.grid(False)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.get_major_locator().set_params(integer=True)
    figure.colorbar(image, label="bits")
    return figure


@public
def layer_bars(report: Report) -> Any:
    """EI_parts of each layer, with two standard errors."""
    figure, axes = _figure(width=1.6 + 1.1 * len(report.layers), height=3.4)
    values = [float(layer.estimates["ei_parts"].value) for layer in report.layers]
    errors = [2 * float(layer.estimates["ei_parts"].standard_error) for layer in report.layers]
    axes.bar(range(len(values)), values, yerr=np.nan_to_num(errors), color=ACCENT, capsize=3)
    axes.set_xticks(range(len(values)), [layer.name for layer in report.layers], rotation=20)
    axes.set(title="EI of the parts, by layer", ylabel="bits")
    axes.grid(axis="x", visible=False)
    return figure


@public
def causal_plane(report: Report) -> Any:
    """Sensitivity against degeneracy (sensitivity - EI_parts), a point a layer.

    On the diagonal EI_parts is 0: whatever the inputs could say, the noise of the others drowns.
    """
    figure, axes = _figure(width=4.6, height=3.8)
    x = [layer.degeneracy for layer in report.layers]
    y = [float(layer.estimates["sensitivity"].value) for layer in report.layers]
    axes.plot([0, 1], [0, 1], transform=axes.transAxes, color=INK, linewidth=0.8, linestyle=":")
    axes.text(0.66, 0.6, "EI = 0", transform=axes.transAxes, color=INK, fontsize=8)
    axes.plot(x, y, color=ACCENT, linewidth=0.8, alpha=0.5)
    axes.scatter(x, y, color=ACCENT, zorder=3)
    for i, (layer, here, there) in enumerate(zip(report.layers, x, y, strict=True)):
        # On either side in turn: layers of similar size lie close together.
        side, shift = ("right", -8) if i % 2 else ("left", 8)
        axes.annotate(
            layer.name, (here, there), (shift, -4), textcoords="offset points", ha=side, fontsize=9
        )
    axes.set(title="The causal plane", xlabel="degeneracy (bits)", ylabel="sensitivity (bits)")
    positive = [value for value in (*x, *y) if value > 0]
    if positive and len(positive) == len(x) + len(y):
        # Layers differ by orders of magnitude, since sensitivity adds up over pairs of neurons.
        limits = 0.3 * min(positive), 3 * max(positive)
        axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    else:
        limits = 1.1 * min([0, *x, *y]), 1.1 * max([1e-9, *x, *y])
        axes.set(xlim=limits, ylim=limits)
    return figure


@public
def weight_graph(report: Report) -> Any:
    """Determinism, degeneracy and EI of the weight graph."""
    figure, axes = _figure(width=4.2, height=2.4)
    names = list(report.graph)
    axes.barh(names, [report.graph[name] for name in names], color=[QUIET, QUIET, ACCENT])
    axes.invert_yaxis()
    axes.set(title="The weight graph", xlabel="bits")
    axes.grid(axis="y", visible=False)
    return figure


def _figure(width: float, height: float) -> tuple[Any, Any]:
    # The object-oriented interface: no global state, no display, no backend chosen for the user.
    figures = require("matplotlib.figure", extra="report")
    figure = figures.Figure(figsize=(min(width, 12), min(height, 7)), layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
