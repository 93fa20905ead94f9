"""A report as files: one self-contained page, the numbers as JSON, the figures as SVG."""

import html
import json
import math
import pathlib
from collections.abc import Iterable
from typing import Any

from .._core import public, require
from ._figures import causal_plane, ei_matrix, layer_bars, weight_graph
from ._report import Report, as_row

_STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --paper: #fdfdfb; --line: #d8dde3; --soft: #5f6c7b }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --paper: #16191d; --line: #39424d;
  --soft: #9aa5b1 } figure { filter: invert(0.9) hue-rotate(180deg) } }
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 3rem auto; padding: 0 1.2rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2.6rem } p.lead, figcaption { color: var(--soft) }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left }
figure { margin: 1.5rem 0; overflow-x: auto } figure svg { max-width: 100%; height: auto }
pre { overflow-x: auto; border: 1px solid var(--line); padding: .8rem; border-radius: 6px }
"""

_MEANINGS = {
    "EI parts": "How many bits each output neuron reveals about each input neuron, summed over "
    "all pairs, when all inputs are set to independent noise at once.",
    "Sensitivity": "The same sum when one input neuron varies and all others are silent.",
    "Degeneracy": "Sensitivity minus EI parts: the bits lost because inputs drown each other.",
    "Standard error": "The scatter of the estimate over repetitions with other samples (delta method).",
    "Bias": "About how much the finite number of samples still adds, after what was corrected for.",
    "Outside": "The largest fraction, over output neurons, of samples out of the output range; they "
    "are left out.",
}


@public
def write_report(report: Report, folder: str | pathlib.Path) -> pathlib.Path:
    """Write `index.html`, `report.json` and `figures/*.svg` into `folder`; return the page's path.

    The page holds its figures and needs no other file and no network. Files of an earlier report
    are overwritten.

    **Raises:** `ImportError` naming the extra to install if matplotlib is missing.
    """
    folder = pathlib.Path(folder)
    figures = _figures(report)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    # A fixed salt and no date: the same report gives the same files.
    with require("matplotlib", extra="report").rc_context({"svg.hashsalt": "jaxinfo"}):
        for name, (figure, _) in figures.items():
            figure.savefig(folder / "figures" / f"{name}.svg", metadata={"Date": None})
    (folder / "report.json").write_text(json.dumps(as_json(report), indent=2) + "\n")
    page = folder / "index.html"
    drawn = {
        name: ((folder / "figures" / f"{name}.svg").read_text(), caption)
        for name, (_, caption) in figures.items()
    }
    page.write_text(_page(report, drawn))
    return page


@public
def as_json(report: Report) -> dict[str, Any]:
    """The report's numbers as plain JSON values; what is not known is null."""
    return {
        "title": report.title,
        "units": "bits",
        "settings": report.settings,
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "neurons": layer.shape,
                "activation": layer.activation,
                "degeneracy": _plain(layer.degeneracy),
                **{
                    quantity: {
                        field: _plain(getattr(estimate, field))
                        for field in ("value", "standard_error", "bias", "samples", "outside")
                    }
                    for quantity, estimate in layer.estimates.items()
                },
                "ei_matrix": None if layer.matrix is None else layer.matrix.tolist(),
            }
            for layer in report.layers
        ],
        "weight_graph": report.graph,
        "training": report.training,
    }


def _plain(value: Any) -> float | int | None:
    number = value.item() if hasattr(value, "item") else value
    return number if math.isfinite(number) else None


def _figures(report: Report) -> dict[str, tuple[Any, str]]:
    figures = {
        "ei-by-layer": (
            layer_bars(report),
            "EI of the parts of each layer, with two standard errors.",
        ),
        "causal-plane": (
            causal_plane(report),
            "Each layer in the causal plane. The further above the dotted line, the more of what a "
            "layer could say survives when all of its inputs speak at once.",
        ),
    }
    if report.graph:
        figures["weight-graph"] = (
            weight_graph(report),
            "Entropies of the graph of weights: of a node's out-weights on average (determinism), "
            "of the average out-weights (degeneracy), and their difference, the graph's EI.",
        )
    for i, layer in enumerate(report.layers):
        if layer.matrix is not None:
            figures[f"ei-matrix-{i}"] = (
                ei_matrix(layer.matrix, layer.name),
                f"What each output neuron of {layer.name} reveals about each input neuron.",
            )
    return figures


def _page(report: Report, figures: dict[str, tuple[str, str]]) -> str:
    title = html.escape(report.title)
    settings = ", ".join(f"{k} {v}" for k, v in report.settings.items())
    rows = [as_row(layer) for layer in report.layers]
    names = _cells("th", rows[0] if rows else ())
    table = "".join(f"<tr>{_cells('td', row.values())}</tr>" for row in rows)
    drawings = "".join(
        f"<figure>{svg[svg.index('<svg') :]}<figcaption>{html.escape(caption)}</figcaption></figure>"
        for svg, caption in figures.values()
    )
    meanings = "".join(f"<dt><b>{k}</b></dt><dd>{v}</dd>" for k, v in _MEANINGS.items())
    graph = "".join(f"<li>{name}: {value:.3f} bits</li>" for name, value in report.graph.items())
    training = "".join(
        f"<li>{html.escape(str(k))}: {html.escape(str(v))}</li>"
        for k, v in (report.training or {}).items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}: information report</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>
<h1>{title}</h1><p class="lead">Information report by jaxinfo ({html.escape(settings)})</p>
<h2>Layers</h2><table><thead><tr>{names}</tr></thead><tbody>{table}</tbody></table>
<h2>What the numbers mean</h2><dl>{meanings}</dl>
<h2>Figures</h2>{drawings}
{f"<h2>Weight graph</h2><ul>{graph}</ul>" if graph else ""}
{f"<h2>Training</h2><ul>{training}</ul>" if training else ""}
<h2>Topology</h2><pre>{html.escape(report.topology)}</pre>
</body></html>
"""


def _cells(tag: str, texts: Iterable[str]) -> str:
    return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)
