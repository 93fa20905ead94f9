"""Floor 1: what a histogram knows."""

from ._binning import Binning as Binning
from ._entropy import entropy as entropy
from ._entropy import mutual_information as mutual_information
from ._estimators import AbstractEstimator as AbstractEstimator
from ._estimators import PlugIn as PlugIn
from ._histogram import PairHistogram as PairHistogram
from ._joint import JointHistogram as JointHistogram
