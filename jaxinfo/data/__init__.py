"""Floor 1: data sets and how to feed them."""

from . import tasks as tasks
from ._digits import digits as digits
from ._loader import DataLoader as DataLoader
from ._patches import generate_patch_set as generate_patch_set, patch_grid as patch_grid
