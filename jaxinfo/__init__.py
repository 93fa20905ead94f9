"""jaxinfo: the information structure of neural networks, in JAX.

Patterns, effective information, and structured maps; see the README for a tour.
"""

import importlib.metadata

from . import (
    activations as activations,
)
from . import (
    connectivity as connectivity,
)
from . import (
    data as data,
)
from . import (
    ei as ei,
)
from . import (
    info as info,
)
from . import (
    maps as maps,
)
from . import (
    network as network,
)
from . import (
    patterns as patterns,
)
from . import (
    train as train,
)
from ._core import value_checks as value_checks
from .network import Channel as Channel
from .network import Topology as Topology
from .network import topology_of as topology_of

__version__ = importlib.metadata.version("jaxinfo")
