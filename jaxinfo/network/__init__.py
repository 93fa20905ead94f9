"""Floor 2: what a network is."""

from ._channel import Channel as Channel
from ._flax import from_flax as from_flax
from ._topology import Topology as Topology
from ._topology import topology_of as topology_of
from ._torch import Imported as Imported
from ._torch import ImportMismatch as ImportMismatch
from ._torch import UnsupportedOperators as UnsupportedOperators
from ._torch import from_torch as from_torch
from ._torch import load_torch_weights as load_torch_weights
from ._torch import to_torch_state_dict as to_torch_state_dict
from ._torch import torch_operator as torch_operator
