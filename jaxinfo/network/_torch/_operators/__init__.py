"""The torch operators that can be imported, one small function each, by family.

Importing a family registers its functions; nothing else is exported.
"""

from . import _attention as _attention
from . import _convolution as _convolution
from . import _creation as _creation
from . import _indexing as _indexing
from . import _interpolation as _interpolation
from . import _linear as _linear
from . import _normalisation as _normalisation
from . import _pointwise as _pointwise
from . import _pooling as _pooling
from . import _recurrent as _recurrent
from . import _reductions as _reductions
from . import _scatter as _scatter
from . import _shapes as _shapes
from . import _symbolic as _symbolic
