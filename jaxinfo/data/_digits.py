"""The handwritten digits of the demo, shipped with the package."""

import importlib.resources

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def digits() -> tuple[Float[Array, "1797 8 8"], Int[Array, " 1797"]]:
    """The UCI optical recognition of handwritten digits: `(images, labels)`.

    1797 grey images of 8 x 8 pixels scaled to [0, 1], and the digit 0 to 9 on each. Nothing is
    downloaded: the file ships with jaxinfo.

    **Source:** Alpaydin and Kaynak (1998), *Optical Recognition of Handwritten Digits*, UCI Machine
    Learning Repository, test set, https://doi.org/10.24432/C50P49 (CC BY 4.0).

    >>> images, labels = digits()
    >>> images.shape, int(labels.max())
    ((1797, 8, 8), 9)
    """
    file = importlib.resources.files("jaxinfo.data").joinpath("digits.npz")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return jnp.asarray(images / np.float32(16)), jnp.asarray(labels, jnp.int32)
