"""Floor 0: elementwise activations with their derivatives, and what is known of them.

One registry, `ACTIVATIONS`: what `jaxinfo.network` recognises in a traced model, from which
`jaxinfo.ei` infers ranges, and by which the exact route inverts a layer.
"""

from ._activation import Activation as Activation
from ._activation import Piece as Piece
from ._activation import derivative as derivative
from ._derivatives import d_heaviside as d_heaviside
from ._derivatives import d_identity as d_identity
from ._derivatives import d_lrelu as d_lrelu
from ._derivatives import d_relu as d_relu
from ._derivatives import d_relu6 as d_relu6
from ._derivatives import d_sigmoid as d_sigmoid
from ._derivatives import d_softplus as d_softplus
from ._derivatives import d_tanh as d_tanh
from ._derivatives import d_threshold as d_threshold
from ._functions import elu as elu
from ._functions import gelu as gelu
from ._functions import gelu_tanh as gelu_tanh
from ._functions import hard_sigmoid as hard_sigmoid
from ._functions import hard_silu as hard_silu
from ._functions import hard_tanh as hard_tanh
from ._functions import identity as identity
from ._functions import log_sigmoid as log_sigmoid
from ._functions import lrelu as lrelu
from ._functions import mish as mish
from ._functions import quick_gelu as quick_gelu
from ._functions import relu as relu
from ._functions import relu6 as relu6
from ._functions import selu as selu
from ._functions import sigmoid as sigmoid
from ._functions import silu as silu
from ._functions import sine as sine
from ._functions import soft_sign as soft_sign
from ._functions import softplus as softplus
from ._functions import tanh as tanh
from ._functions import telu as telu
from ._links import d_softmax as d_softmax
from ._links import inverse_logistic as inverse_logistic
from ._links import inverse_tanh as inverse_tanh
from ._links import softmax as softmax
from ._registry import ACTIVATIONS as ACTIVATIONS
from ._registry import as_activation as as_activation
from ._registry import create_function as create_function
from ._registry import recognise as recognise
from ._thresholds import bkwta as bkwta
from ._thresholds import heaviside as heaviside
from ._thresholds import sign as sign
from ._thresholds import spike as spike
from ._thresholds import threshold as threshold
from ._thresholds import threshold_cauchy as threshold_cauchy
from ._thresholds import threshold_soft as threshold_soft
