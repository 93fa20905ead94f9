"""Maps by name."""

from ._base import AbstractLinearMap
from ._butterfly import ButterflyLinear
from ._factored import KroneckerLinear, LowRankLinear, MonarchLinear
from ._gershgorin import GershgorinLinear
from ._l0 import L0Linear
from ._linear import IdentityInitLinear, IdentityLinear, Linear
from ._norm import BoundedNormLinear, PowerBoundLinear
from ._null_space import DiagonallyDominantLinear, TrivialNullSpaceLinear
from ._orthogonal import (
    CayleyLinear,
    ExponentialLinear,
    OrthogonalLinear,
    SchurDecompositionLinear,
    StiefelLinear,
)
from ._signed import LassoLinear, LassoLinearRELU, NonNegativeLinear, SplitLinear
from ._spectral import SpectralLinear, SymmetricSpectralLinear
from ._stochastic import (
    DoublyStochasticLinear,
    LeftStochasticLinear,
    PerronFrobeniusLinear,
    RightStochasticLinear,
    StableSplitLinear,
)
from ._svd import SVDLinear, SVDLinearLearnBounds, SymmetricSVDLinear
from ._symmetric import (
    DampedSkewSymmetricLinear,
    PSDLinear,
    SkewSymmetricLinear,
    SymmetricLinear,
)
from ._symplectic import (
    HamiltonianLinear,
    ShearSymplecticLinear,
    SkewBlockLinear,
    SymplecticLinear,
)
from ._toeplitz import CirculantLinear, ToeplitzLinear

maps: dict[str, type[AbstractLinearMap]] = {
    # The documented keys of neuromancer.slim.
    "l0": L0Linear,
    "linear": Linear,
    "nneg": NonNegativeLinear,
    "lasso": LassoLinear,
    "lstochastic": LeftStochasticLinear,
    "rstochastic": RightStochasticLinear,
    "pf": PerronFrobeniusLinear,
    "symmetric": SymmetricLinear,
    "skew_symetric": SkewSymmetricLinear,
    "damp_skew_symmetric": DampedSkewSymmetricLinear,
    "split": SplitLinear,
    "stable_split": StableSplitLinear,
    "spectral": SpectralLinear,
    "softSVD": SVDLinear,
    "learnSVD": SVDLinearLearnBounds,
    "orthogonal": OrthogonalLinear,
    "psd": PSDLinear,
    "symplectic": SymplecticLinear,
    "butterfly": ButterflyLinear,
    "schur": SchurDecompositionLinear,
    "identity": IdentityLinear,
    "gershgorin": GershgorinLinear,
    "bounded_Lp_norm": BoundedNormLinear,
    "trivial_nullspace": TrivialNullSpaceLinear,
    "Power_bound": PowerBoundLinear,
    # Its classes without a key, and the corrected spelling of one.
    "skew_symmetric": SkewSymmetricLinear,
    "lasso_relu": LassoLinearRELU,
    "identity_init": IdentityInitLinear,
    "symmetric_spectral": SymmetricSpectralLinear,
    "symmetric_svd": SymmetricSVDLinear,
    # Beyond.
    "cayley": CayleyLinear,
    "exponential": ExponentialLinear,
    "stiefel": StiefelLinear,
    "doubly_stochastic": DoublyStochasticLinear,
    "diagonally_dominant": DiagonallyDominantLinear,
    "shear_symplectic": ShearSymplecticLinear,
    "skew_block": SkewBlockLinear,
    "hamiltonian": HamiltonianLinear,
    "low_rank": LowRankLinear,
    "kronecker": KroneckerLinear,
    "monarch": MonarchLinear,
    "toeplitz": ToeplitzLinear,
    "circulant": CirculantLinear,
}
"""Every map by a short name; `skew_symetric` is the source's spelling."""

square_maps: set[type[AbstractLinearMap]] = {
    SymmetricLinear,
    SkewSymmetricLinear,
    DampedSkewSymmetricLinear,
    PSDLinear,
    OrthogonalLinear,
    SymplecticLinear,
    SchurDecompositionLinear,
    SymmetricSpectralLinear,
    SymmetricSVDLinear,
    GershgorinLinear,
    PowerBoundLinear,
    CayleyLinear,
    ExponentialLinear,
    DoublyStochasticLinear,
    DiagonallyDominantLinear,
    ShearSymplecticLinear,
    SkewBlockLinear,
    HamiltonianLinear,
    CirculantLinear,
}
"""The maps that exist for square matrices only."""

tall_maps: set[type[AbstractLinearMap]] = {TrivialNullSpaceLinear}
"""The maps that cannot lower the dimension: `in_features <= out_features`."""
