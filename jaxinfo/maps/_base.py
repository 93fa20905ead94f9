"""What a structured linear map is."""

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Float, Inexact, PRNGKeyArray, Shaped

from .._core import as_inexact, checked, public, sizes, whole
from ._loading import fill, fill_from_source
from ._numerics import at_least_single, uniform

Map = TypeVar("Map", bound="AbstractLinearMap")


class AbstractLinearMap(eqx.Module):
    r"""A linear layer whose matrix keeps a promise, whatever the values of its parameters.

    $$y = x W + b, \qquad W = \text{effective\_W}() \in \mathbb{R}^{in \times out}$$

    The arrays of a map are its free parameters: any optimiser may move them anywhere. Constants
    (bounds, strengths of penalties) are static fields, so that nothing trains or decays them. The
    bias is never part of the matrix.

    **Every map has:**

    - `Name(in_features, out_features, use_bias=False, *, key, ...)`: a random start from `key`.
    - `Name.from_parameters(params, in_features, out_features, use_bias, ...)`: from the named arrays
        of a state dict.
    - `Name.from_matrix(W, bias=None, ...)`: the member nearest to `W`, for the families in which it
        is known.
    - `m(x)`: for `x` of shape `(*batch, in_features)`, one example or any number of batch axes.
    - `effective_W()`, `eig()`, `reg_error()`, `violation()`, `equation`.

    >>> import jax, jax.numpy as jnp, jaxinfo
    >>> m = jaxinfo.maps.OrthogonalLinear(4, 4, key=jax.random.key(0))
    >>> x = jnp.arange(4.0)
    >>> bool(jnp.allclose(jnp.linalg.norm(m(x)), jnp.linalg.norm(x)))
    True
    """

    bias: Inexact[Array, " out_features"] | None
    in_features: int = eqx.field(static=True)
    out_features: int = eqx.field(static=True)

    _source_options: ClassVar[Mapping[str, Any]] = {}
    """Options under which the class computes what the source's class of that name does."""

    _fast: ClassVar[bool] = False
    """Whether applying the map costs less than a product with its matrix, however often it is done."""

    def __init__(self, in_features: int, out_features: int, use_bias: bool, *, key: PRNGKeyArray):
        self.in_features = whole("in_features", in_features)
        self.out_features = whole("out_features", out_features)
        if min(self.in_features, self.out_features) < 1:
            raise ValueError(
                f"`in_features` and `out_features` must be at least 1; got {in_features} and "
                f"{out_features}."
            )
        if self._fast:  # applied without its matrix, which may be larger than any can be
            sizes(in_features=in_features)
            sizes(out_features=out_features)
        else:
            sizes(in_features=in_features, out_features=out_features)
        self.bias = uniform(key, (out_features,), in_features) if use_bias else None

    @abc.abstractmethod
    def effective_W(self) -> Inexact[Array, "{self.in_features} {self.out_features}"]:
        """The matrix $W$, without the bias."""

    @property
    @abc.abstractmethod
    def equation(self) -> str:
        """The map in one line, for people."""

    @property
    def use_bias(self) -> bool:
        """Whether a bias is added."""
        return self.bias is not None

    @public
    def __call__(
        self, x: Shaped[ArrayLike, "*batch features"], *, key: PRNGKeyArray | None = None
    ) -> Inexact[Array, "*batch {self.out_features}"]:
        """$x W + b$ for each row of `x`; `key` matters to maps that draw something (`L0Linear`)."""
        y = self._multiply(self._accepted("x", x), key)
        return y if self.bias is None else y + self.bias

    def _accepted(self, name: str, x: Any) -> Inexact[Array, "*batch features"]:
        """`x` as an array that the map takes, or a `ValueError` that names the argument."""
        x = as_inexact(x)
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"`{name}`: `{type(self).__name__}` maps arrays of shape (..., {self.in_features}); "
                f"got one of shape {x.shape}."
            )
        return x

    def reg_error(self) -> Float[Array, ""]:
        """The penalty to add to a loss: 0 for a map that keeps its promise by construction."""
        return jnp.zeros(())

    def violation(self) -> Float[Array, ""]:
        """How far the matrix is from what the map promises: 0, up to rounding, when kept."""
        return jnp.zeros(())

    @public
    def eig(self, vectors: bool = False) -> Any:
        """The eigenvalues of $W$ (complex), or with `vectors` the pair of values and right vectors.

        The values alone are differentiable where none is repeated.

        **Raises:** `ValueError` for a matrix that is not square.
        """
        if self.in_features != self.out_features:
            raise ValueError(
                "Only a square matrix has eigenvalues; this one has shape "
                f"({self.in_features}, {self.out_features})."
            )
        W = at_least_single(self.effective_W())
        # Without vectors the eigenvalues have a derivative.
        return tuple(jnp.linalg.eig(W)) if vectors else jnp.linalg.eigvals(W)

    @classmethod
    @public
    def from_parameters(
        cls: type[Map],
        params: Mapping[str, Any],
        in_features: int,
        out_features: int,
        use_bias: bool | None = None,
        **options: Any,
    ) -> Map:
        """A map that holds the arrays of `params`, named and laid out as in the source's state dict.

        Can be traced, so that a gradient reaches the arrays. A bias of shape `(1, out_features)` is
        taken as a vector. Entries that the source stores twice or never uses are left aside;
        everything else must be there, once, in its right shape.

        **Arguments:**

        - `params`: arrays by name (`weight`, `bias`, `U`, `B.weight`, ...).
        - `in_features`, `out_features`, `use_bias`, `options`: as for the constructor.

        **Raises:** `KeyError` for a name that is missing or unknown, `ValueError` for a shape that
        does not fit, or for a bias other than 0 where there is to be none.
        """
        template = cls._template(
            in_features, out_features, use_bias, {**cls._source_options, **options}
        )
        return fill_from_source(template, params, AbstractLinearMap)

    @classmethod
    @public
    def from_matrix(
        cls: type[Map],
        W: Inexact[ArrayLike, "in_features out_features"],
        bias: Inexact[ArrayLike, " out_features"] | None = None,
        **options: Any,
    ) -> Map:
        """The member of the family nearest to `W`: `W` itself, if it is a member.

        Nearest in the sense of the Frobenius norm, unless the class says otherwise. Every class gives
        back a member as it is, up to rounding.

        **Raises:** `NotImplementedError` for a family in which the nearest member is not known;
        `ValueError` for a matrix that is not real, and for NaN where the nearest member would have none.
        """
        W = as_inexact(W)
        if W.ndim != 2 or jnp.iscomplexobj(W):
            raise ValueError(
                "`W` must be a real matrix of shape (in_features, out_features); got shape "
                f"{W.shape} of {W.dtype}."
            )
        rows, columns = W.shape
        template = cls._template(rows, columns, bias is not None, options)
        if bias is not None and not template.use_bias:
            raise ValueError(f"`{cls.__name__}` has no bias: pass none to `from_matrix`.")
        params = {k: v.astype(W.dtype) for k, v in template._nearest(at_least_single(W)).items()}
        kept = jnp.any(jnp.array([False, *(jnp.any(jnp.isnan(v)) for v in params.values())]))
        lost = jnp.any(jnp.isnan(W)) & ~kept
        checked(W, lost, f"`W` holds NaN, and no `{cls.__name__}` is near to that.")
        return fill(template, params if bias is None else {**params, "bias": bias})

    @classmethod
    def _template(
        cls: type[Map],
        in_features: int,
        out_features: int,
        use_bias: bool | None,
        options: Mapping[str, Any],
    ) -> Map:
        """A map with the shapes of its arrays in their places, and nothing computed."""
        given = options if use_bias is None else {**options, "use_bias": use_bias}
        return eqx.filter_eval_shape(lambda: cls(in_features, out_features, key=jr.key(0), **given))

    def _multiply(
        self, x: Inexact[Array, "*batch in_features"], key: PRNGKeyArray | None
    ) -> Inexact[Array, "*batch out_features"]:
        """$x W$, once."""
        return x @ self._matrix(key)

    def _matrix(self, key: PRNGKeyArray | None) -> Inexact[Array, "in_features out_features"]:
        """The matrix, with whatever `key` draws."""
        return self.effective_W()

    def _translate(self, params: dict[str, Array]) -> dict[str, Array]:
        """The source's arrays under the names and in the layout of this class."""
        return params

    def _nearest(self, W: Inexact[Array, "..."]) -> dict[str, Array]:
        """The parameters of the member nearest to `W`."""
        raise NotImplementedError(
            f"The `{type(self).__name__}` nearest to a given matrix is not known in closed form; "
            "construct one from a key and fit it."
        )


class AbstractSquareMap(AbstractLinearMap):
    """The base of maps that exist for square matrices only.

    Otherwise as `AbstractLinearMap`. **Raises:** `ValueError` at construction if `in_features` and
    `out_features` differ.
    """

    def __init__(self, in_features: int, out_features: int, use_bias: bool, *, key: PRNGKeyArray):
        if in_features != out_features:
            raise ValueError(
                f"`{type(self).__name__}` must be square; got {in_features} (`in_features`) x "
                f"{out_features} (`out_features`)."
            )
        super().__init__(in_features, out_features, use_bias, key=key)


class AbstractWeightMap(AbstractLinearMap):
    r"""The base of maps whose one parameter, beside the bias, is a `weight` of the matrix's shape.

    It starts uniform in $\pm 1/\sqrt{\text{in\_features}}$.
    """

    weight: Inexact[Array, "in_features out_features"]

    def __init__(
        self, in_features: int, out_features: int, use_bias: bool = False, *, key: PRNGKeyArray
    ):
        bias_key, key = jr.split(key)
        super().__init__(in_features, out_features, use_bias, key=bias_key)
        self.weight = uniform(key, (in_features, out_features), in_features)
