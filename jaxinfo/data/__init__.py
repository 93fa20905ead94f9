"""Floor 1: data sets and how to feed them."""

from ._digits import digits as digits
