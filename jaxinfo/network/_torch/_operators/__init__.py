"""The torch operators that can be imported, one small function each, by family.

Importing a family registers its functions; nothing else is exported.
"""

from . import (
    _attention as _attention,
    _complex as _complex,
    _convolution as _convolution,
    _creation as _creation,
    _indexing as _indexing,
    _interpolation as _interpolation,
    _linear as _linear,
    _normalisation as _normalisation,
    _pointwise as _pointwise,
    _pooling as _pooling,
    _recurrent as _recurrent,
    _reductions as _reductions,
    _sampling as _sampling,
    _scatter as _scatter,
    _shapes as _shapes,
    _symbolic as _symbolic,
)
