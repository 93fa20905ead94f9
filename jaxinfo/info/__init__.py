"""Floor 1: what a histogram knows."""

from ._binning import Binning as Binning
from ._corrected import (
    Grassberger as Grassberger,
    Jackknife as Jackknife,
    MillerMadow as MillerMadow,
)
from ._coverage import ChaoShen as ChaoShen
from ._entropy import entropy as entropy, mutual_information as mutual_information
from ._estimators import (
    AbstractEstimator as AbstractEstimator,
    NonNegative as NonNegative,
    PlugIn as PlugIn,
)
from ._histogram import PairHistogram as PairHistogram
from ._influence import standard_error as standard_error
from ._joint import JointHistogram as JointHistogram
from ._panzeri_treves import PanzeriTreves as PanzeriTreves
from ._subsampling import Extrapolation as Extrapolation, ShuffledNull as ShuffledNull
