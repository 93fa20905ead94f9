"""Floor 2: what a network is."""

from ._channel import Channel as Channel
from ._flax import from_flax as from_flax
from ._proof import ImportMismatch as ImportMismatch, Verification as Verification
from ._topology import Topology as Topology, topology_of as topology_of
from ._torch import (
    Imported as Imported,
    UnsupportedOperators as UnsupportedOperators,
    from_torch as from_torch,
    load_torch_weights as load_torch_weights,
    to_torch_state_dict as to_torch_state_dict,
    torch_operator as torch_operator,
)
