"""Floor 5: measurements made to be looked at."""

from ._figures import (
    causal_plane as causal_plane,
    ei_matrix as ei_matrix,
    layer_bars as layer_bars,
    weight_graph as weight_graph,
)
from ._report import Report as Report, analyze as analyze
from ._write import as_json as as_json, write_report as write_report
