"""Floor 2: what a network is."""

from ._channel import Channel as Channel
from ._topology import Topology as Topology
from ._topology import topology_of as topology_of
from ._torch import Imported as Imported
from ._torch import ImportMismatch as ImportMismatch
from ._torch import UnsupportedOperators as UnsupportedOperators
from ._torch import from_torch as from_torch
from ._torch import torch_operator as torch_operator
