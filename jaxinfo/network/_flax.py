"""`from_flax`: a Flax model, Linen or NNX, as an Equinox module."""

import importlib
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array

from ._torch._named import named_leaves, nest, path_name, with_children


class FlaxImported(eqx.Module):
    """A Flax model as a pure function of its parameters and inputs; made by `from_flax`.

    The parameters are a pytree whose paths are Flax's names with dots, `Dense_0.kernel`. What is not
    a parameter (running statistics) is there too, under names of its own, and no gradient flows to
    it; `trainable` tells them apart.
    """

    _program: Any = eqx.field(static=True, repr=False)
    _collections: "Collections" = eqx.field(static=True, repr=False)

    def __init__(self, program: Any, collections: "Collections", tree: Mapping[str, Any]):
        self._program = program
        self._collections = collections
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


def from_flax(
    model: Any, example_input: Any = None, *, verify: bool = True, **options: Any
) -> FlaxImported:
    """A Flax model as an Equinox module: named parameters in a pytree, and a pure call.

    **Arguments:**

    - `model`: an NNX module, which is taken in evaluation mode; or a pair of a Linen module and its
        variables (`{"params": ...}`, or the parameters alone).
    - `example_input`: one input, or a tuple of several, for the verification.
    - `verify`: compare the outputs with the Flax model's on the example, if one is given.
    - `options`: further keyword arguments of each call, such as `train=False` or
        `deterministic=True` for a Linen module.

    The module takes what the Flax model takes: one example where that model does.

    **Raises:** `TypeError` for anything else than these; `ArithmeticError` if the verification
    fails.

    >>> import flax.linen, jax, jax.numpy as jnp
    >>> dense = flax.linen.Dense(2)
    >>> imported = from_flax((dense, dense.init(jax.random.key(0), jnp.zeros(3))))
    >>> imported(jnp.ones(3)).shape, imported.kernel.shape
    ((2,), (3, 2))
    """
    linen, nnx = _flax("linen"), _flax("nnx")
    args = example_input if isinstance(example_input, tuple) else (example_input,)
    if isinstance(model, nnx.Module):
        imported, original = _from_nnx(model, options)
    elif isinstance(model, tuple | list) and len(model) == 2 and isinstance(model[0], linen.Module):
        imported, original = _from_linen(model[0], model[1], options)
    else:
        raise TypeError(
            "`model` must be a flax.nnx.Module, or a pair (flax.linen.Module, its variables); got "
            f"{type(model).__name__}. Any other function with a pytree of parameters works as it "
            "is: `jax.tree_util.Partial(fn, params)`."
        )
    if verify and example_input is not None:
        _verify(imported, original, args)
    return imported


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
    kind, children = with_children(FlaxImported, type(module).__name__, leaves)
    imported = kind(_Linen(module, collection, options), Collections(trained), children)

    def original(*args: Any) -> Any:
        return module.apply(variables, *args, **options)

    return imported, original


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
    params = nnx.filter_state(state, nnx.Param)
    trained = frozenset(_nnx_name(path) for path, _ in jtu.tree_flatten_with_path(params)[0])
    kind, children = with_children(FlaxImported, type(model).__name__, leaves)
    imported = kind(_NNX(definition, state, options), Collections(trained), children)

    def original(*args: Any) -> Any:
        return evaluated(*args, **options)

    return imported, original


def _nnx_name(path: tuple[Any, ...]) -> str:
    return path_name(path).removesuffix(".value")


def _verify(imported: FlaxImported, original: Any, args: tuple[Any, ...]) -> None:
    """Outputs as those of the Flax model, and a gradient that reaches what is trained."""
    ours, theirs = (jtu.tree_leaves(model(*args)) for model in (imported, original))
    for a, b in zip(ours, theirs, strict=True):
        if not np.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True):
            worst = float(jnp.max(jnp.abs(a - b)))
            raise ArithmeticError(f"The import differs from the Flax model by up to {worst:.2e}.")
