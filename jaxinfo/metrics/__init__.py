"""Floor 0: scores of predictions, codes and spike trains."""

from ._information import measure_ARI as measure_ARI
from ._information import measure_entropy as measure_entropy
from ._information import measure_NMI as measure_NMI
from ._information import measure_perplexity as measure_perplexity
from ._likelihood import measure_ACC as measure_ACC
from ._likelihood import measure_BCE as measure_BCE
from ._likelihood import measure_CatNLL as measure_CatNLL
from ._likelihood import measure_KLD as measure_KLD
from ._likelihood import measure_MSE as measure_MSE
from ._similarity import measure_linear_CKA as measure_linear_CKA
from ._similarity import measure_Pearson_correlation as measure_Pearson_correlation
from ._sparsity import measure_fanoFactor as measure_fanoFactor
from ._sparsity import measure_firingRate as measure_firingRate
from ._sparsity import measure_gini_index as measure_gini_index
from ._sparsity import measure_hoyer_sparsity as measure_hoyer_sparsity
from ._sparsity import measure_sparsity as measure_sparsity
