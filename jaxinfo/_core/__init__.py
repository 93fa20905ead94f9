"""Floor 0: what every other room stands on. Nothing here knows of networks or histograms."""

from ._errors import (
    checked as checked,
)
from ._errors import (
    is_traced as is_traced,
)
from ._errors import (
    one_of as one_of,
)
from ._errors import (
    require as require,
)
from ._errors import (
    unknown_name as unknown_name,
)
from ._errors import (
    value_checks as value_checks,
)
from ._numerics import as_inexact as as_inexact
from ._numerics import safe_divide as safe_divide
from ._numerics import xlog2x as xlog2x
from ._words import (
    bits_for as bits_for,
)
from ._words import (
    group_rows as group_rows,
)
from ._words import (
    pack_fields as pack_fields,
)
from ._words import (
    unpack_fields as unpack_fields,
)
