"""Models from torch: export, translation to JAX, proof, files of parameters."""

from ._import import from_torch as from_torch
from ._module import Imported as Imported
from ._table import UnsupportedOperators as UnsupportedOperators, torch_operator as torch_operator
from ._weights import (
    load_torch_weights as load_torch_weights,
    to_torch_state_dict as to_torch_state_dict,
)
