"""Floor 1: linear maps that keep a promise for every value of their parameters."""

from ._base import AbstractLinearMap as AbstractLinearMap, AbstractSquareMap as AbstractSquareMap
from ._butterfly import ButterflyLinear as ButterflyLinear
from ._factored import (
    KroneckerLinear as KroneckerLinear,
    LowRankLinear as LowRankLinear,
    MonarchLinear as MonarchLinear,
)
from ._gershgorin import GershgorinLinear as GershgorinLinear
from ._householder import householder_product as householder_product
from ._l0 import L0Linear as L0Linear
from ._linear import (
    IdentityInitLinear as IdentityInitLinear,
    IdentityLinear as IdentityLinear,
    Linear as Linear,
)
from ._norm import (
    BoundedNormLinear as BoundedNormLinear,
    PowerBoundLinear as PowerBoundLinear,
    spectral_radius as spectral_radius,
)
from ._null_space import (
    DiagonallyDominantLinear as DiagonallyDominantLinear,
    TrivialNullSpaceLinear as TrivialNullSpaceLinear,
)
from ._orthogonal import (
    CayleyLinear as CayleyLinear,
    ExponentialLinear as ExponentialLinear,
    OrthogonalLinear as OrthogonalLinear,
    SchurDecompositionLinear as SchurDecompositionLinear,
    StiefelLinear as StiefelLinear,
)
from ._registry import maps as maps, square_maps as square_maps, tall_maps as tall_maps
from ._rnn import RNN as RNN, RNNCell as RNNCell
from ._signed import (
    LassoLinear as LassoLinear,
    LassoLinearRELU as LassoLinearRELU,
    NonNegativeLinear as NonNegativeLinear,
    SplitLinear as SplitLinear,
    identity_grad_relu as identity_grad_relu,
)
from ._spectral import (
    SpectralLinear as SpectralLinear,
    SymmetricSpectralLinear as SymmetricSpectralLinear,
)
from ._stochastic import (
    DoublyStochasticLinear as DoublyStochasticLinear,
    LeftStochasticLinear as LeftStochasticLinear,
    PerronFrobeniusLinear as PerronFrobeniusLinear,
    RightStochasticLinear as RightStochasticLinear,
    StableSplitLinear as StableSplitLinear,
)
from ._structure import reg_errors as reg_errors, structure as structure
from ._svd import (
    SVDLinear as SVDLinear,
    SVDLinearLearnBounds as SVDLinearLearnBounds,
    SymmetricSVDLinear as SymmetricSVDLinear,
)
from ._symmetric import (
    DampedSkewSymmetricLinear as DampedSkewSymmetricLinear,
    PSDLinear as PSDLinear,
    SkewSymmetricLinear as SkewSymmetricLinear,
    SymmetricLinear as SymmetricLinear,
)
from ._symplectic import (
    HamiltonianLinear as HamiltonianLinear,
    ShearSymplecticLinear as ShearSymplecticLinear,
    SkewBlockLinear as SkewBlockLinear,
    SymplecticLinear as SymplecticLinear,
)
from ._toeplitz import CirculantLinear as CirculantLinear, ToeplitzLinear as ToeplitzLinear
