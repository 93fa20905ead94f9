"""Floor 2: which half-spaces of the data each threshold unit selects, and which it could select."""

from ._activation import (
    activation_patterns as activation_patterns,
    compute_activation_patterns as compute_activation_patterns,
)
from ._coverage import Coverage as Coverage, coverage as coverage
from ._distance import hamming_distances as hamming_distances, nearest_patterns as nearest_patterns
from ._distinct import DistinctPatterns as DistinctPatterns, unique_patterns as unique_patterns
from ._enumerate import enumerate_patterns as enumerate_patterns, num_patterns as num_patterns
from ._gated import (
    GatedReLU as GatedReLU,
    GatedReLUFit as GatedReLUFit,
    GatedReLUNetwork as GatedReLUNetwork,
    fit_gated_relu as fit_gated_relu,
    gated_relu_masks as gated_relu_masks,
)
from ._gates import (
    generate_index_lists as generate_index_lists,
    sample_convolutional_gates as sample_convolutional_gates,
    sample_dense_gates as sample_dense_gates,
    sample_gate_vectors as sample_gate_vectors,
    sample_sparse_gates as sample_sparse_gates,
)
from ._network import (
    LayerSummary as LayerSummary,
    linear_regions as linear_regions,
    local_map as local_map,
    network_patterns as network_patterns,
    summarise_patterns as summarise_patterns,
)
from ._packed import PackedPatterns as PackedPatterns
