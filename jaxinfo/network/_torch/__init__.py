"""Models from torch: export, translation to JAX, proof, files of parameters."""

from ._import import from_torch as from_torch
from ._module import Imported as Imported
from ._table import UnsupportedOperators as UnsupportedOperators
from ._table import torch_operator as torch_operator
from ._verify import ImportMismatch as ImportMismatch
