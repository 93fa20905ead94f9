"""A number with what is known of its error."""

import equinox as eqx
from jaxtyping import Array, Float, Int


class Estimate(eqx.Module):
    """An information quantity in **bits**, and how far it may be off.

    **Fields:**

    - `value`: the estimate.
    - `standard_error`: one standard deviation of `value` over repetitions with other keys; for an
        exact value a bound on its numerical error, NaN where it is not known.
    - `bias`: what the estimator is expected to add to the truth and has not subtracted; NaN where
        it is not known (what soft bins take off; vectors whose states were mostly seen once); 0 for an
        exact value.
    - `samples`: number of samples used; 0 for an exact value.
    - `outside`: the largest fraction, over output neurons, of samples outside the output range.
    """

    value: Float[Array, ""]
    standard_error: Float[Array, ""]
    bias: Float[Array, ""]
    samples: Int[Array, ""]
    outside: Float[Array, ""]

    def __repr__(self) -> str:
        return (
            f"Estimate({float(self.value):.4f} bits, standard error "
            f"{float(self.standard_error):.1g}, bias {float(self.bias):.1g}, "
            f"{int(self.samples)} samples, {float(self.outside):.1%} outside)"
        )
