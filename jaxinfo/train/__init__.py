"""Floor 4: training with information in view."""

from ._fit import Trajectory as Trajectory
from ._fit import fit as fit
from ._penalty import ei_penalty as ei_penalty
