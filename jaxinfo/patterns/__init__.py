"""Floor 2: which half-spaces of the data each threshold unit selects, and which it could select."""

from ._activation import activation_patterns as activation_patterns
from ._activation import compute_activation_patterns as compute_activation_patterns
from ._distinct import DistinctPatterns as DistinctPatterns
from ._distinct import unique_patterns as unique_patterns
from ._enumerate import enumerate_patterns as enumerate_patterns
from ._enumerate import num_patterns as num_patterns
from ._gates import generate_index_lists as generate_index_lists
from ._gates import sample_convolutional_gates as sample_convolutional_gates
from ._gates import sample_dense_gates as sample_dense_gates
from ._gates import sample_gate_vectors as sample_gate_vectors
from ._gates import sample_sparse_gates as sample_sparse_gates
from ._packed import PackedPatterns as PackedPatterns
