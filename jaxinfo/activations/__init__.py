"""Floor 0: elementwise activations with their derivatives, and what is known of them.

One registry, `ACTIVATIONS`: what `jaxinfo.network` recognises in a traced model, from which
`jaxinfo.ei` infers ranges, and by which the exact route inverts a layer.
"""

from ._activation import Activation as Activation, Piece as Piece, derivative as derivative
from ._derivatives import (
    d_heaviside as d_heaviside,
    d_identity as d_identity,
    d_lrelu as d_lrelu,
    d_relu as d_relu,
    d_relu6 as d_relu6,
    d_sigmoid as d_sigmoid,
    d_softplus as d_softplus,
    d_tanh as d_tanh,
    d_threshold as d_threshold,
)
from ._functions import (
    elu as elu,
    gelu as gelu,
    gelu_tanh as gelu_tanh,
    hard_sigmoid as hard_sigmoid,
    hard_silu as hard_silu,
    hard_tanh as hard_tanh,
    identity as identity,
    log_sigmoid as log_sigmoid,
    lrelu as lrelu,
    mish as mish,
    quick_gelu as quick_gelu,
    relu as relu,
    relu6 as relu6,
    selu as selu,
    sigmoid as sigmoid,
    silu as silu,
    sine as sine,
    soft_sign as soft_sign,
    softplus as softplus,
    tanh as tanh,
    telu as telu,
)
from ._links import (
    d_softmax as d_softmax,
    inverse_logistic as inverse_logistic,
    inverse_tanh as inverse_tanh,
    softmax as softmax,
)
from ._registry import (
    ACTIVATIONS as ACTIVATIONS,
    as_activation as as_activation,
    create_function as create_function,
    recognise as recognise,
)
from ._shape import with_pieces as with_pieces
from ._thresholds import (
    bkwta as bkwta,
    heaviside as heaviside,
    sign as sign,
    spike as spike,
    threshold as threshold,
    threshold_cauchy as threshold_cauchy,
    threshold_soft as threshold_soft,
)
