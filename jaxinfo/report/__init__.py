"""Floor 5: measurements made to be looked at."""

from ._figures import (
    causal_plane as causal_plane,
)
from ._figures import (
    ei_matrix as ei_matrix,
)
from ._figures import (
    layer_bars as layer_bars,
)
from ._figures import (
    weight_graph as weight_graph,
)
from ._report import Report as Report
from ._report import analyze as analyze
from ._write import as_json as as_json
from ._write import write_report as write_report
