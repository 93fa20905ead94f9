"""LSTM, GRU and plain recurrent layers: stacked, in both directions, as one scan over time each.

The product with the inputs is taken for all times at once, outside the scan.
"""

import jax
import jax.numpy as jnp

from .._table import torch_operator
from ._linear import linear


def _lstm_cell(state, inputs, weight, bias):
    hidden, cell = state[:2]
    gates = inputs + linear(hidden, weight, bias)
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(cell), cell


def _gru_cell(state, inputs, weight, bias):
    (hidden,) = state
    reset_in, update_in, new_in = jnp.split(inputs, 3, axis=-1)
    reset, update, new = jnp.split(linear(hidden, weight, bias), 3, axis=-1)
    reset, update = jax.nn.sigmoid(reset_in + reset), jax.nn.sigmoid(update_in + update)
    new = jnp.tanh(new_in + reset * new)
    return ((1 - update) * new + update * hidden,)


def _plain_cell(activation):
    def cell(state, inputs, weight, bias):
        return (activation(inputs + linear(state[0], weight, bias)),)

    return cell


def _direction(cell, x, state, weights, reverse):
    """One layer in one direction over `x` of shape (time, ..., features)."""
    weight_in, weight_hidden, bias_in, bias_hidden, *projection = weights
    inputs = linear(x, weight_in, bias_in)

    def step(state, inputs):
        state = cell(state, inputs, weight_hidden, bias_hidden)
        if projection:
            state = (linear(state[0], *projection), *state[1:])
        return state, state[0]

    return jax.lax.scan(step, state, inputs, reverse=reverse)


def _layers(
    cell, x, states, params, has_biases, n_layers, bidirectional, batch_first, per_direction
):
    """All layers; returns the outputs and the final states, each (layers * directions, ..., n).

    Of a batch or of one example: nothing here asks for an axis of the batch.
    """
    swapped = batch_first and x.ndim == 3
    x = jnp.swapaxes(x, 0, 1) if swapped else x
    n_directions = 2 if bidirectional else 1
    finals = []
    for layer in range(n_layers):
        outputs = []
        for direction in range(n_directions):
            k = layer * n_directions + direction
            weights = list(params[k * per_direction : (k + 1) * per_direction])
            if not has_biases:
                weights[2:2] = [None, None]
            state = tuple(state[k] for state in states)
            final, output = _direction(cell, x, state, weights, reverse=direction == 1)
            finals.append(final)
            outputs.append(output)
        x = jnp.concatenate(outputs, axis=-1)
    finals = [jnp.stack(values) for values in zip(*finals, strict=True)]
    return jnp.swapaxes(x, 0, 1) if swapped else x, *finals


@torch_operator("aten.lstm.input", unbatched=True)
def lstm(x, states, params, has_biases, n_layers, dropout, train, bidirectional, batch_first=False):
    directions = n_layers * (2 if bidirectional else 1)
    args = (has_biases, n_layers, bidirectional, batch_first, len(params) // directions)
    return _layers(_lstm_cell, x, states, params, *args)


def _one_state(cell):
    def layer(
        x, state, params, has_biases, n_layers, dropout, train, bidirectional, batch_first=False
    ):
        directions = n_layers * (2 if bidirectional else 1)
        args = (has_biases, n_layers, bidirectional, batch_first, len(params) // directions)
        return _layers(cell, x, [state], params, *args)

    return layer


torch_operator("aten.gru.input", unbatched=True)(_one_state(_gru_cell))
torch_operator("aten.rnn_tanh.input", unbatched=True)(_one_state(_plain_cell(jnp.tanh)))
torch_operator("aten.rnn_relu.input", unbatched=True)(_one_state(_plain_cell(jax.nn.relu)))
