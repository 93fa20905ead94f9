r"""Effective information of the weight graph: determinism and degeneracy.

A network is read as a directed graph: a node for each input neuron of each affine layer, and edges
weighted by what the layer's matrix connects. A `norm` turns the out-weights of a node into a
distribution $W_i$ over the nodes it feeds. Then, over the $n$ nodes of all layers,

$$\text{determinism} = \frac1n \sum_i H(W_i), \qquad
\text{degeneracy} = H\Big(\frac1n \sum_i W_i\Big), \qquad EI = \text{degeneracy} - \text{determinism}.$$

Mind the names: both are *entropies*, as in the source program, so a low "determinism" means that
nodes determine what follows. Where every node has out-weights, EI is their average divergence from
the mean out-weights, $\frac1n \sum_i D(W_i \| \bar W) \ge 0$. A node without any sends nothing: the
mean in degeneracy is then normalised by its own total.

**Source:** Klein and Hoel (2020), *The emergence of informative higher scales in complex networks*,
Complexity 2020:8932526; names and conventions of `foresight.ei`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Real

from ._core import as_real, moderate, safe_divide, xlog2x
from .network import Topology, topology_of

Norm = Callable[[Float[Array, "inputs outputs"]], Float[Array, "inputs outputs"]]


def H(x: Real[ArrayLike, "*shape"], dim: int = 0) -> Float[Array, "*rest"]:
    r"""Entropy along an axis, $-\sum_i x_i \log_2 x_i$ with $0 \log 0 := 0$, in **bits**.

    `x` is taken as it is, not normalised; a negative entry or NaN gives NaN. The gradient at 0
    leaves out that entry's infinite term.

    >>> import jax.numpy as jnp
    >>> H(jnp.array([[0.5, 1.0], [0.5, 0.0]]))
    Array([ 1., -0.], dtype=float32)
    """
    return -jnp.sum(xlog2x(as_real(x)), axis=dim)


def lin_norm(W: Real[ArrayLike, "inputs outputs"]) -> Float[Array, "inputs outputs"]:
    """Positive weights over their row sum; a row without a positive weight stays all zero.

    >>> import jax.numpy as jnp
    >>> lin_norm(jnp.array([[1.0, 3.0], [-1.0, -2.0]]))
    Array([[0.25, 0.75],
           [0.  , 0.  ]], dtype=float32)
    """
    positive = moderate(jax.nn.relu(as_real(W)), 1)
    return safe_divide(positive, jnp.sum(positive, axis=1, keepdims=True))


def soft_norm(W: Real[ArrayLike, "inputs outputs"]) -> Float[Array, "inputs outputs"]:
    """Softmax of each row.

    >>> import jax.numpy as jnp
    >>> soft_norm(jnp.zeros((1, 4)))
    Array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """
    return jax.nn.softmax(as_real(W), axis=1)


def sig_norm(W: Real[ArrayLike, "inputs outputs"]) -> Float[Array, "inputs outputs"]:
    """Sigmoids over their row sum; computed in logarithms, so that no row underflows to 0/0.

    >>> import jax.numpy as jnp
    >>> sig_norm(jnp.array([[-1000.0, -1000.0]]))
    Array([[0.5, 0.5]], dtype=float32)
    """
    return jax.nn.softmax(jax.nn.log_sigmoid(as_real(W)), axis=1)


def connectivity_matrix(
    module: Callable[..., Any], x: Any, out_shape: tuple[int, ...] | None = None
) -> Float[Array, "inputs outputs"]:
    """The matrix of an affine layer, entry `[i, j]` being what input `i` adds to output `j`.

    Works for any module that is affine in its input (linear, any convolution with stride, padding,
    dilation and groups, average pooling), by linearising it at 0; biases do not enter. Inputs and
    outputs are flattened in row-major order: `x.ravel() @ matrix` is the layer without its bias.

    **Arguments:**

    - `module`: a function of one example.
    - `x`: an example, or the shape of one.
    - `out_shape`: checked against the module's output, if given.

    **Raises:** `ValueError` if the module is not affine, or `out_shape` is not its output's.

    **Cost:** the smaller of the numbers of inputs and outputs, in calls of the module.

    >>> import equinox as eqx, jax
    >>> pool = eqx.nn.AvgPool1d(2, 2)
    >>> connectivity_matrix(pool, (1, 4))
    Array([[0.5, 0. ],
           [0.5, 0. ],
           [0. , 0.5],
           [0. , 0.5]], dtype=float32)
    """
    topology = topology_of(module, _example(x))
    if len(topology.names) != 1:
        raise ValueError(
            "`connectivity_matrix` takes one affine layer; got a module with the layers "
            f"{', '.join(map(repr, topology.names))}. Take one of them, or use `determinism`, "
            "`degeneracy` and `ei`, which take a whole model."
        )
    if not _affine_layers(topology):
        raise ValueError(
            f"`connectivity_matrix` takes an affine layer; {topology.names[0]!r} is a "
            f"{topology.kind(topology.names[0])}, which no matrix describes."
        )
    (matrix,) = _matrices(topology, topology.names)
    found = topology.nodes[topology.names[0]]["output"]["shape"]
    if out_shape is not None and tuple(out_shape) != found:
        raise ValueError(f"`out_shape` is {tuple(out_shape)}, but the module's output is {found}.")
    return matrix


def get_shapes(model: Any, x: Any) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Input and output shape of each affine layer, by layer name, without a batch axis.

    Linear layers, convolutions and average poolings in order of execution; a max pooling is not
    affine and is left out. A layer used twice is listed twice.

    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> model = eqx.nn.MLP(4, 2, 3, 1, key=jax.random.key(0))
    >>> get_shapes(model, jnp.zeros(4))
    {'layers.0': ((4,), (3,)), 'layers.1': ((3,), (2,))}
    """
    topology = topology_of(model, _example(x))
    nodes = topology.nodes
    return {
        name: (nodes[name]["input"]["shape"], nodes[name]["output"]["shape"])
        for name in _affine_layers(topology)
    }


def determinism(model: Any, x: Any, norm: Norm = lin_norm) -> Float[Array, ""]:
    """Mean entropy of the out-weights of the network's nodes, in **bits** (low: deterministic).

    A node whose normalised row is all zero has entropy 0 and counts as a node.

    **Arguments:**

    - `model`: anything `topology_of` takes, or a `Topology`.
    - `x`: an example input without a batch axis, or its shape.
    - `norm`: `lin_norm`, `soft_norm`, `sig_norm`, or any function of a matrix.

    Differentiable in the model's parameters. **Cost:** the matrices of all layers, one at a time.

    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> model = eqx.nn.Linear(4, 4, key=jax.random.key(0))
    >>> model = eqx.tree_at(lambda m: m.weight, model, jnp.ones((4, 4)))
    >>> determinism(model, jnp.zeros(4))
    Array(2., dtype=float32)
    """
    return _graph_entropies(model, x, norm)[0]


def degeneracy(model: Any, x: Any, norm: Norm = lin_norm) -> Float[Array, ""]:
    """Entropy of the mean out-weights of the network's nodes, in **bits**.

    Arguments as `determinism`. Where no node has an out-weight, 0.

    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> model = eqx.nn.Linear(4, 2, key=jax.random.key(0))
    >>> model = eqx.tree_at(lambda m: m.weight, model, jnp.ones((2, 4)))
    >>> degeneracy(model, jnp.zeros(4))
    Array(1., dtype=float32)
    """
    return _graph_entropies(model, x, norm)[1]


def ei(model: Any, x: Any, norm: Norm = lin_norm) -> Float[Array, ""]:
    r"""Effective information of the weight graph, degeneracy minus determinism, in **bits**.

    Arguments as `determinism`.

    >>> import equinox as eqx, jax, jax.numpy as jnp
    >>> model = eqx.nn.Linear(4, 4, key=jax.random.key(0))
    >>> model = eqx.tree_at(lambda m: m.weight, model, jnp.eye(4))
    >>> ei(model, jnp.zeros(4))
    Array(2., dtype=float32)
    """
    average, of_average = _graph_entropies(model, x, norm)
    return of_average - average


def _graph_entropies(model: Any, x: Any, norm: Norm) -> tuple[Float[Array, ""], Float[Array, ""]]:
    topology = model if isinstance(model, Topology) else topology_of(model, _example(x))
    names = _affine_layers(topology)
    nodes, row_entropy, arriving = 0, jnp.zeros(()), []
    for matrix in _matrices(topology, names):
        rows = norm(matrix)
        nodes += rows.shape[0]
        row_entropy = row_entropy + jnp.sum(H(rows, dim=1))
        arriving.append(jnp.sum(rows, axis=0))
    # What arrives is normalised by its own total: rows of zeros send nothing.
    weights = jnp.concatenate(arriving)
    return row_entropy / nodes, H(safe_divide(weights, jnp.sum(weights)))


def _affine_layers(topology: Topology) -> tuple[str, ...]:
    return tuple(n for n in topology.names if topology.kind(n) in ("linear", "conv", "avg_pool"))


def _matrices(topology: Topology, names: Sequence[str]) -> Iterator[Float[Array, "inputs outputs"]]:
    return (topology.operation(name).weight for name in names)


def _example(x: Any) -> Any:
    """An example input, from one or from its shape."""
    is_shape = isinstance(x, tuple | list) and all(isinstance(size, int) for size in x)
    return jax.ShapeDtypeStruct(tuple(x), jnp.result_type(float)) if is_shape else x
