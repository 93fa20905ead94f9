"""jaxinfo: the information structure of neural networks, in JAX.

Patterns, effective information, and structured maps; see the README for a tour.
"""

import importlib.metadata

from . import (
    activations as activations,
    connectivity as connectivity,
    data as data,
    ei as ei,
    info as info,
    io as io,
    maps as maps,
    metrics as metrics,
    network as network,
    ops as ops,
    patterns as patterns,
    report as report,
    surrogate as surrogate,
    train as train,
)
from ._core import value_checks as value_checks
from .network import Channel as Channel, Topology as Topology, topology_of as topology_of

__version__ = importlib.metadata.version("jaxinfo")
