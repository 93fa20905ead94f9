"""Floor 0: what every other room stands on. Nothing here knows of networks or histograms."""

from ._devices import may_be_divided as may_be_divided, undivided as undivided
from ._errors import (
    checked as checked,
    of_shape as of_shape,
    one_of as one_of,
    require as require,
    sizes as sizes,
    unknown_name as unknown_name,
    value_checks as value_checks,
    whole as whole,
)
from ._files import (
    FileFormatError as FileFormatError,
    path_of as path_of,
    reading as reading,
    zip_members as zip_members,
)
from ._kinds import Natural as Natural, Positive as Positive
from ._numerics import (
    as_inexact as as_inexact,
    as_real as as_real,
    at_unit_size as at_unit_size,
    moderate as moderate,
    nan_where as nan_where,
    number_of_bin as number_of_bin,
    over_largest as over_largest,
    power_of_two as power_of_two,
    safe_divide as safe_divide,
    xlog2x as xlog2x,
)
from ._public import public as public
from ._random import fold_in as fold_in, uniform as uniform
from ._tracing import called as called, is_traced as is_traced, values_now as values_now
from ._words import (
    bits_for as bits_for,
    group_rows as group_rows,
    pack_fields as pack_fields,
    unpack_fields as unpack_fields,
)
