"""Floor 0: elementwise activations, and what is known of them.

One registry, `ACTIVATIONS`: what `jaxinfo.network` recognises in a traced model, from which
`jaxinfo.ei` infers ranges, and by which the exact route inverts a layer.
"""

from ._activation import Activation as Activation
from ._activation import Piece as Piece
from ._functions import elu as elu
from ._functions import gelu as gelu
from ._functions import heaviside as heaviside
from ._functions import identity as identity
from ._functions import lrelu as lrelu
from ._functions import relu as relu
from ._functions import relu6 as relu6
from ._functions import sigmoid as sigmoid
from ._functions import silu as silu
from ._functions import sine as sine
from ._functions import softplus as softplus
from ._functions import tanh as tanh
from ._functions import telu as telu
from ._functions import threshold as threshold
from ._registry import ACTIVATIONS as ACTIVATIONS
from ._registry import as_activation as as_activation
from ._registry import recognise as recognise
