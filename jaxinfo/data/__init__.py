"""Floor 1: data sets and how to feed them."""

from . import tasks as tasks
from ._digits import digits as digits
