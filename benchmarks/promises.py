"""`python -m benchmarks.promises [classes] [--size N]`: what is left of every promise in float32.

For each class, square with N = 512 features: `violation()` at the start, with all parameters 100 times
larger, and after 100 steps of AdamW with weight decay on a regression to random targets. Classes whose
promise is a penalty add `reg_error()` to that loss, which draws them nearer and does not promise 0.
"""

import argparse
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax

import jaxinfo.maps as maps


def violations(cls: type[Any], size: int, steps: int = 100) -> tuple[Any, Any, Any]:
    """Of one class: at the start, far out, and after training."""
    key, x_key, y_key = jr.split(jr.key(0), 3)
    m = eqx.filter_jit(cls)(size, size, key=key)
    x, y = jr.normal(x_key, (64, size)), jr.normal(y_key, (64, size))
    arrays, static = eqx.partition(m, eqx.is_inexact_array)
    optimiser = optax.adamw(1e-2, weight_decay=1e-2)

    @jax.jit
    def train(arrays: Any) -> Any:
        def loss(arrays: Any) -> jax.Array:
            m = eqx.combine(arrays, static)
            return jnp.mean(jnp.abs(m(x) - y) ** 2) + m.reg_error()

        def step(carry: Any, _: None) -> tuple[Any, None]:
            arrays, state = carry
            updates, state = optimiser.update(jax.grad(loss)(arrays), state, arrays)
            return (optax.apply_updates(arrays, updates), state), None

        return jax.lax.scan(step, (arrays, optimiser.init(arrays)), length=steps)[0][0]

    violation = jax.jit(lambda arrays: eqx.combine(arrays, static).violation())
    far = jax.tree.map(lambda a: 100 * a, arrays)
    return tuple(float(violation(each)) for each in (arrays, far, train(arrays)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.promises", description=__doc__)
    parser.add_argument("classes", nargs="*", help="names of classes; default: all")
    parser.add_argument("--size", type=int, default=512)
    arguments = parser.parse_args()
    classes = {cls.__name__: cls for cls in maps.maps.values()}
    print("| map | at the start | 100 times larger | after 100 steps |\n|---|---|---|---|")
    for name in arguments.classes or classes:
        found = violations(classes[name], arguments.size)
        print(f"| `{name}` | " + " | ".join(f"{each:.0e}" for each in found) + " |", flush=True)


if __name__ == "__main__":
    main()
