"""What a route to the joint tables must answer."""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..info import AbstractEstimator
from ._intervention import Bounds, Setting

Group = tuple[tuple[int, ...], tuple[int, ...]]  # numbers of input and of output neurons


class PairsResult(eqx.Module):
    """What is known of every pair of an input and an output neuron, in **bits**.

    **Fields:**

    - `matrix`: the mutual information of each pair.
    - `standard_error`, `bias`: of the sum of the matrix, as in `Estimate`; NaN where not asked for.
    - `samples`: number of samples used; 0 for an exact route.
    - `outside`: the largest fraction, over output neurons, that fell outside the output range.
    - `converged`: false where the number of samples reached its limit before the answer settled.
    """

    matrix: Float[Array, "n_in n_out"]
    standard_error: Float[Array, ""]
    bias: Float[Array, ""]
    samples: Int[Array, ""]
    outside: Float[Array, ""]
    converged: Bool[Array, ""]


class VectorResult(eqx.Module):
    """The vector EI of each group, in **bits**; other fields as in `PairsResult`.

    Standard error and bias are NaN where they are not known.
    """

    values: Float[Array, " groups"]
    samples: Int[Array, ""]
    outside: Float[Array, ""]
    converged: Bool[Array, ""]
    standard_error: Float[Array, "*groups"] = eqx.field(default_factory=lambda: jnp.array(jnp.nan))
    bias: Float[Array, "*groups"] = eqx.field(default_factory=lambda: jnp.array(jnp.nan))


class AbstractMethod(eqx.Module):
    """A route from a setting to its joint tables, and to what they say.

    The functions of `jaxinfo.ei` work out what is to be measured (a `Setting`); a method answers.
    A method that draws samples needs the key, the others ignore it.
    """

    @abc.abstractmethod
    def parts(
        self,
        setting: Setting,
        key: PRNGKeyArray | None,
        estimator: AbstractEstimator | None,
        *,
        with_error: bool = False,
    ) -> PairsResult:
        """Every pair, all inputs uniform; `with_error` asks for error and bias at some cost."""

    @abc.abstractmethod
    def sensitivity(
        self,
        setting: Setting,
        key: PRNGKeyArray | None,
        estimator: AbstractEstimator | None,
        *,
        with_error: bool = False,
    ) -> PairsResult:
        """Every pair, its input uniform and all others silent."""

    @abc.abstractmethod
    def vector(
        self, setting: Setting, key: PRNGKeyArray | None, groups: tuple[Group, ...]
    ) -> VectorResult:
        """Each group as a pair of single variables, all inputs uniform."""

    @abc.abstractmethod
    def noise_range(self, setting: Setting, key: PRNGKeyArray | None) -> Bounds:
        """The least and greatest value of each output neuron, all inputs uniform."""

    @abc.abstractmethod
    def silent_range(
        self, setting: Setting, key: PRNGKeyArray | None
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The least and greatest value of any output neuron, one input uniform at a time."""
