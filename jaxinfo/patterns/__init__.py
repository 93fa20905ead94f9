"""Floor 2: which half-spaces of the data each threshold unit selects, and which it could select."""

from ._activation import activation_patterns as activation_patterns
from ._activation import compute_activation_patterns as compute_activation_patterns
from ._coverage import Coverage as Coverage
from ._coverage import coverage as coverage
from ._distance import hamming_distances as hamming_distances
from ._distance import nearest_patterns as nearest_patterns
from ._distinct import DistinctPatterns as DistinctPatterns
from ._distinct import unique_patterns as unique_patterns
from ._enumerate import enumerate_patterns as enumerate_patterns
from ._enumerate import num_patterns as num_patterns
from ._gated import GatedReLU as GatedReLU
from ._gated import GatedReLUFit as GatedReLUFit
from ._gated import GatedReLUNetwork as GatedReLUNetwork
from ._gated import fit_gated_relu as fit_gated_relu
from ._gated import gated_relu_masks as gated_relu_masks
from ._gates import generate_index_lists as generate_index_lists
from ._gates import sample_convolutional_gates as sample_convolutional_gates
from ._gates import sample_dense_gates as sample_dense_gates
from ._gates import sample_gate_vectors as sample_gate_vectors
from ._gates import sample_sparse_gates as sample_sparse_gates
from ._network import LayerSummary as LayerSummary
from ._network import linear_regions as linear_regions
from ._network import local_map as local_map
from ._network import network_patterns as network_patterns
from ._network import summarise_patterns as summarise_patterns
from ._packed import PackedPatterns as PackedPatterns
