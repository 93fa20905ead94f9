"""Floor 0: scores of predictions, codes and spike trains."""

from ._information import (
    measure_ARI as measure_ARI,
    measure_entropy as measure_entropy,
    measure_NMI as measure_NMI,
    measure_perplexity as measure_perplexity,
)
from ._likelihood import (
    measure_ACC as measure_ACC,
    measure_BCE as measure_BCE,
    measure_CatNLL as measure_CatNLL,
    measure_KLD as measure_KLD,
    measure_MSE as measure_MSE,
)
from ._similarity import (
    measure_linear_CKA as measure_linear_CKA,
    measure_Pearson_correlation as measure_Pearson_correlation,
)
from ._sparsity import (
    measure_fanoFactor as measure_fanoFactor,
    measure_firingRate as measure_firingRate,
    measure_gini_index as measure_gini_index,
    measure_hoyer_sparsity as measure_hoyer_sparsity,
    measure_sparsity as measure_sparsity,
)
