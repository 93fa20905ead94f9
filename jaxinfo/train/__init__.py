"""Floor 4: training with information in view."""

from ._fit import Trajectory as Trajectory, fit as fit
from ._penalty import ei_penalty as ei_penalty
