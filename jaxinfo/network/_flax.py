"""`from_flax`: a Flax model, Linen or NNX, as an Equinox module."""

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array

from .._core import public
from ._proof import (
    ImportMismatch,
    Verification,
    combination,
    default_tolerance,
    judge,
    largest_error,
    magnitude,
)
from ._torch._named import named_leaves, nest, path_name, with_children


class FlaxImported(eqx.Module):
    """A Flax model as a pure function of its parameters and inputs; made by `from_flax`.

    The parameters are a pytree whose paths are Flax's names with dots, `Dense_0.kernel`. What is not
    a parameter (running statistics) is there too, under names of its own, and no gradient flows to
    it; `trainable` tells them apart.
    """

    _program: Any = eqx.field(static=True, repr=False)
    _collections: "Collections" = eqx.field(static=True, repr=False)
    report: Any = eqx.field(static=True)
    """What the verification against Flax measured; `None` if there was none."""

    def __init__(
        self,
        program: Any,
        collections: "Collections",
        tree: Mapping[str, Any],
        report: Verification | None = None,
    ):
        self._program = program
        self._collections = collections
        self.report = report
        for child, value in tree.items():
            setattr(self, child, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the Flax model returns, in evaluation mode."""
        leaves = {
            name: leaf if name in self._collections.trained else jax.lax.stop_gradient(leaf)
            for name, leaf in named_leaves(self).items()
        }
        return self._program(leaves, *args, **kwargs)

    @property
    def trainable(self) -> "FlaxImported":
        """The same pytree with `True` for parameters and `False` for anything else."""
        leaves, treedef = jtu.tree_flatten_with_path(self)
        names = (path_name(path) for path, _ in leaves)
        return jtu.tree_unflatten(treedef, [name in self._collections.trained for name in names])


class Collections:
    """Which names are parameters. Equal only to itself, as it is static."""

    def __init__(self, trained: frozenset[str]):
        self.trained = trained


def _flax(name: str) -> Any:
    """`flax.linen` or `flax.nnx`: imported where needed, as it is heavy and `import jaxinfo` is not."""
    return importlib.import_module(f"flax.{name}")


class _Linen:
    """A Linen module, applied to variables by name."""

    def __init__(self, module: Any, collection: Mapping[str, str], options: dict[str, Any]):
        self.module, self.collection, self.options = module, dict(collection), options

    def __call__(self, leaves: Mapping[str, Array], *args: Any, **kwargs: Any) -> Any:
        variables: dict[str, Any] = {}
        for kind in set(self.collection.values()):
            variables[kind] = nest({n: v for n, v in leaves.items() if self.collection[n] == kind})
        return self.module.apply(variables, *args, **{**self.options, **kwargs})


class _NNX:
    """The definition of an NNX module and its random state, merged with parameters by name."""

    def __init__(self, definition: Any, state: Any, options: dict[str, Any]):
        self.definition, self.state, self.options = definition, state, options

    def __call__(self, leaves: Mapping[str, Array], *args: Any, **kwargs: Any) -> Any:
        paths, treedef = jtu.tree_flatten_with_path(self.state)
        values = [leaves.get(_nnx_name(path), leaf) for path, leaf in paths]
        model = _flax("nnx").merge(self.definition, jtu.tree_unflatten(treedef, values))
        return model(*args, **{**self.options, **kwargs})


@public
def from_flax(
    model: Any,
    example_input: Any = None,
    *,
    verify: bool = True,
    tolerance: float | None = None,
    **options: Any,
) -> FlaxImported:
    """A Flax model as an Equinox module: named parameters in a pytree, and a pure call.

    **Arguments:**

    - `model`: an NNX module, which is taken in evaluation mode; or a pair of a Linen module and its
        variables (`{"params": ...}`, or the parameters alone).
    - `example_input`: one input, or a tuple of several, for the verification.
    - `verify`: if an example is given, compare outputs and the gradients of all parameters with
        those of the Flax model, on the example and on random inputs; the largest relative errors are
        kept in `imported.report`.
    - `tolerance`: largest accepted relative error; by default 1e-5 in float32, 1e-10 in float64.
    - `options`: further keyword arguments of each call, such as `train=False` or
        `deterministic=True` for a Linen module.

    The module takes what the Flax model takes: one example where that model does.

    **Raises:** `TypeError` for anything else than these; `ImportMismatch` if the verification
    fails.

    Cost: for the verification, one compilation of the model and its gradient, twice over.

    >>> import flax.linen, jax, jax.numpy as jnp
    >>> dense = flax.linen.Dense(2)
    >>> imported = from_flax((dense, dense.init(jax.random.key(0), jnp.zeros(3))))
    >>> imported(jnp.ones(3)).shape, imported.kernel.shape
    ((2,), (3, 2))
    """
    linen, nnx = _flax("linen"), _flax("nnx")
    args = example_input if isinstance(example_input, tuple) else (example_input,)
    if isinstance(model, nnx.Module):
        parts, original, parameters = _from_nnx(model, options)
    elif isinstance(model, tuple | list) and len(model) == 2 and isinstance(model[0], linen.Module):
        parts, original, parameters = _from_linen(model[0], model[1], options)
    else:
        raise TypeError(
            "`model` must be a flax.nnx.Module, or a pair (flax.linen.Module, its variables); got "
            f"{type(model).__name__}. Any other function with a pytree of parameters works as it "
            "is: `jax.tree_util.Partial(fn, params)`."
        )
    name, program, collections, leaves = parts
    kind, children = with_children(FlaxImported, name, leaves)
    imported = kind(program, collections, children)
    if not verify or example_input is None:
        return imported
    report = _verify(imported, original, parameters, args, tolerance)
    return kind(program, collections, children, report)


def _from_linen(module: Any, variables: Any, options: dict[str, Any]) -> Any:
    variables = _flax("linen").unbox(variables)
    variables = variables if "params" in variables else {"params": variables}
    leaves: dict[str, Array] = {}
    collection: dict[str, str] = {}
    for kind, tree in variables.items():
        for name, leaf in named_leaves(tree).items():
            if name in leaves:
                raise ValueError(f"{name!r} is in two collections: {collection[name]} and {kind}.")
            leaves[name], collection[name] = jnp.asarray(leaf), kind
    trained = frozenset(name for name, kind in collection.items() if kind == "params")

    def original(params: Any, *args: Any) -> Any:
        return module.apply({**variables, "params": params}, *args, **options)

    program = _Linen(module, collection, options)
    parts = type(module).__name__, program, Collections(trained), leaves
    return parts, original, variables["params"]


def _from_nnx(model: Any, options: dict[str, Any]) -> Any:
    nnx = _flax("nnx")
    evaluated = nnx.clone(model)
    evaluated.eval()
    definition, state = nnx.split(evaluated)
    leaves = {
        _nnx_name(path): leaf
        for path, leaf in jtu.tree_flatten_with_path(
            nnx.filter_state(state, nnx.Not(nnx.RngState))
        )[0]
    }
    _, params, rest = nnx.split(evaluated, nnx.Param, ...)
    trained = frozenset(_nnx_name(path) for path, _ in jtu.tree_flatten_with_path(params)[0])

    def original(params: Any, *args: Any) -> Any:
        fresh = jtu.tree_map(lambda leaf: leaf, rest)  # variables that this trace may change
        return nnx.merge(definition, params, fresh)(*args, **options)

    program = _NNX(definition, state, options)
    return (type(model).__name__, program, Collections(trained), leaves), original, params


def _nnx_name(path: tuple[Any, ...]) -> str:
    return path_name(path).removesuffix(".value")


def _verify(
    imported: FlaxImported,
    original: Callable[..., Any],
    parameters: Any,
    args: tuple[Any, ...],
    tolerance: float | None,
) -> Verification:
    """Outputs and gradients as those of the Flax model; raise `ImportMismatch` if not."""
    trained, rest = eqx.partition(imported, imported.trainable)

    def slopes(model: Callable[..., Any], at: Any, args: Any, weights: Any) -> Any:
        loss = jax.grad(lambda at: combination(model(at, *args), weights), has_aux=True)
        return loss(at)

    def ours(trained: Any, *args: Any) -> Any:
        return eqx.combine(trained, rest)(*args)

    # What is to be proven is the program, not the compiler: its optimisations take the longest.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def both(trained: Any, parameters: Any, args: Any, weights: Any) -> Any:
        return slopes(ours, trained, args, weights), slopes(original, parameters, args, weights)

    try:
        shapes = jax.eval_shape(original, parameters, *args)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The model does not accept `example_input`: {error}") from error
    inexact = [y for y in jtu.tree_leaves(shapes) if jnp.issubdtype(y.dtype, jnp.inexact)]
    gradients: dict[str, float] = {}
    outputs = 0.0
    for key in jr.split(jr.key(0), 2):
        weights_key, input_key = jr.split(key)
        keys = jr.split(weights_key, len(inexact) + 1)
        weights = [
            jr.normal(k, (*y.shape, *[2] * jnp.issubdtype(y.dtype, jnp.complexfloating)))
            for k, y in zip(keys, inexact, strict=False)
        ]
        with jax.default_matmul_precision("highest"):
            (mine, found), (theirs, expected) = both(trained, parameters, args, weights)
        if len(found) != len(expected):
            raise ImportMismatch(f"Flax returns {len(expected)} arrays, the import {len(found)}.")
        for a, b in zip(found, expected, strict=True):
            outputs = max(outputs, largest_error(a, np.asarray(b)))
        wanted = {
            _nnx_name(path): np.asarray(slope)
            for path, slope in jtu.tree_flatten_with_path(theirs)[0]
        }
        floor = max(map(magnitude, wanted.values()), default=0.0) / 10
        mine = named_leaves(mine)
        for name, slope in wanted.items():
            worst = largest_error(mine[name], slope, floor)
            gradients[name] = max(gradients.get(name, 0.0), worst)
        args = jtu.tree_map(lambda x, k=input_key: _like(k, x), args)
    if tolerance is None:
        tolerance = default_tolerance(leaf.dtype for leaf in jtu.tree_leaves((imported, shapes)))
    report = Verification({}, outputs, gradients, tolerance)
    judge(report)
    return report


def _like(key: Array, x: Any) -> Any:
    """Random values of the same shape, dtype, and spread or range."""
    if not isinstance(x, jax.Array | np.ndarray) or not x.size:
        return x
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
        return x
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return jr.permutation(key, jnp.ravel(x)).reshape(x.shape)
    spread = jnp.std(x.astype(float))
    noise = jr.normal(key, x.shape) * jnp.where(spread > 0, spread, 1.0)
    return (noise + jnp.mean(x.astype(float))).astype(x.dtype)
