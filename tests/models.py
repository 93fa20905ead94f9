"""Small models that several tests share, and those of the golden cases."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "tanh": jnp.tanh, "relu": jax.nn.relu}


class Residual(eqx.Module):
    """x + down(gelu(up(norm(x)))), on one vector."""

    norm: eqx.nn.LayerNorm
    up: eqx.nn.Linear
    down: eqx.nn.Linear

    def __init__(self, size, *, key):
        up, down = jr.split(key)
        self.norm = eqx.nn.LayerNorm(size)
        self.up = eqx.nn.Linear(size, 2 * size, key=up)
        self.down = eqx.nn.Linear(2 * size, size, key=down)

    def __call__(self, x):
        return x + self.down(jax.nn.gelu(self.up(self.norm(x)), approximate=False))


class Encoder(eqx.Module):
    """One transformer block on a sequence of tokens, and a head on their mean."""

    attention: eqx.nn.MultiheadAttention
    feed: Residual
    head: eqx.nn.Linear

    def __init__(self, *, key):
        attention, feed, head = jr.split(key, 3)
        self.attention = eqx.nn.MultiheadAttention(2, 8, key=attention)
        self.feed = Residual(8, key=feed)
        self.head = eqx.nn.Linear(8, 3, key=head)

    def __call__(self, x):
        x = x + self.attention(x, x, x)
        return self.head(jnp.mean(jax.vmap(self.feed)(x), axis=0))


class Twice(eqx.Module):
    """One layer, used twice."""

    fc: eqx.nn.Linear

    def __call__(self, x):
        return self.fc(jax.nn.relu(self.fc(x)))


def convolutional(key):
    keys = jr.split(key, 3)
    return eqx.nn.Sequential(
        [
            eqx.nn.Conv2d(1, 2, 3, padding=1, key=keys[0]),
            eqx.nn.Lambda(jax.nn.relu),
            eqx.nn.AvgPool2d(2, 2),
            eqx.nn.Conv2d(2, 3, 2, key=keys[1]),
            eqx.nn.Lambda(jnp.tanh),
            eqx.nn.MaxPool2d(2, 1),
            eqx.nn.Lambda(jnp.ravel),
            eqx.nn.Linear(3, 4, key=keys[2]),
        ]
    )


def blank(layer, *args, **kwargs):
    """A layer whose weights are all 0, without the compilations that it takes to draw them."""
    shapes = eqx.filter_eval_shape(layer, *args, key=jr.key(0), **kwargs)
    return jax.tree.map(
        lambda x: jnp.asarray(np.zeros(x.shape, x.dtype)) if hasattr(x, "dtype") else x, shapes
    )


def golden_model(case, data):
    """The model of a golden case, and the names of its layers by their index there."""
    names, layers = {}, []
    for layer in case["architecture"]["layers"]:
        index, kind = layer["index"], layer["type"]
        names[index] = f"layers.{len(layers)}"
        if kind == "Linear":
            weight = data[case["params"][layer["weight"]].removeprefix("npz:")]
            bias = _optional(case, layer, data)
            shape = weight.shape[1], weight.shape[0]
            made = blank(eqx.nn.Linear, *shape, use_bias=bias is not None)
            layers.append(_with(made, weight, bias))
        elif kind == "Conv2d":
            weight = data[case["params"][layer["weight"]].removeprefix("npz:")]
            bias = _optional(case, layer, data)
            made = blank(
                eqx.nn.Conv2d,
                weight.shape[1],
                weight.shape[0],
                weight.shape[2:],
                stride=layer["stride"],
                padding=layer["padding"],
                use_bias=bias is not None,
            )
            layers.append(_with(made, weight, None if bias is None else bias[:, None, None]))
        elif kind == "AvgPool2d":
            layers.append(eqx.nn.AvgPool2d(layer["kernel"], layer["stride"]))
        elif kind == "MaxPool2d":
            layers.append(eqx.nn.MaxPool2d(layer["kernel"], layer["stride"]))
        else:
            layers.append(eqx.nn.Lambda(ACTIVATIONS[layer["name"]]))
    return eqx.nn.Sequential(layers), names


def _with(layer, weight, bias):
    layer = eqx.tree_at(lambda m: m.weight, layer, jnp.asarray(weight))
    if bias is None:
        return layer
    return eqx.tree_at(lambda m: m.bias, layer, jnp.asarray(bias))


def _optional(case, layer, data):
    name = layer.get("bias")
    return None if name is None else data[case["params"][name].removeprefix("npz:")]
