"""Floor 3: effective information, how much one layer causally tells the next."""

from ..network import topology_of as topology_of
from ._estimate import Estimate as Estimate
from ._exact import Exact as Exact
from ._exact import output_entropy as output_entropy
from ._measure import measure as measure
from ._parts import ei_parts as ei_parts
from ._parts import ei_parts_matrix as ei_parts_matrix
from ._sampling import Sampling as Sampling
from ._sensitivity import sensitivity as sensitivity
from ._sensitivity import sensitivity_matrix as sensitivity_matrix
from ._vector import (
    ei as ei,
)
from ._vector import (
    eis_between_groups as eis_between_groups,
)
from ._vector import (
    vector_and_pairwise_ei as vector_and_pairwise_ei,
)
