"""Floor 3: effective information, how much one layer causally tells the next."""

from ..network import topology_of as topology_of
from ._estimate import Estimate as Estimate
from ._exact import Exact as Exact, output_entropy as output_entropy
from ._measure import measure as measure
from ._parts import ei_parts as ei_parts, ei_parts_matrix as ei_parts_matrix
from ._sampling import Sampling as Sampling
from ._sensitivity import sensitivity as sensitivity, sensitivity_matrix as sensitivity_matrix
from ._soft import Soft as Soft
from ._vector import (
    ei as ei,
    eis_between_groups as eis_between_groups,
    vector_and_pairwise_ei as vector_and_pairwise_ei,
)
