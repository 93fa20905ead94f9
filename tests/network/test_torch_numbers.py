"""Numbers at their edges mean to an imported model what they mean to torch: whole ones past 32 bits,
NaN, and the input that a model overwrites."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.network import from_torch

torch = pytest.importorskip("torch", reason="imports models of torch")

from torch_zoo import Function  # noqa: E402


class Buckets(torch.nn.Module):
    """A hash of tokens, as tables of n-grams have them."""

    def __init__(self, factor):
        super().__init__()
        self.table, self.factor = torch.nn.Embedding(97, 2), factor

    def forward(self, x):
        return self.table((x.long() * self.factor) % 97)


TOKENS = torch.tensor([[1, 2, 3]], dtype=torch.int32)
LARGE = torch.tensor([[5000, 12345, 2**31 - 1]], dtype=torch.int32)
WIDE = {
    "a sum": Function(lambda x: x.sum(1)),
    "a running sum": Function(lambda x: x.cumsum(1)),
    "a product": Function(lambda x: x.prod(1)),
    "a cast": Function(lambda x: (x * 1e9).long().float()),
    "a hash": Buckets(1_000_003),
    "a square": Function(lambda x: (x.long() ** 2 > 10**10).float()),
    "a difference": Function(lambda x: (-x.long() - 2**31).float() / 2**31),
}


@pytest.mark.parametrize("name", WIDE)
def test_whole_numbers_that_may_pass_32_bits_are_refused(name):
    # The example itself is small: what the numbers can become decides, not what they are.
    with pytest.raises((ValueError, NotImplementedError), match="jax_enable_x64"):
        from_torch(WIDE[name], TOKENS)


@pytest.mark.parametrize("name", WIDE)
def test_with_64_bits_they_are_those_of_torch(name, x64):
    imported = from_torch(WIDE[name], TOKENS)
    expected = WIDE[name](LARGE).detach().numpy()
    np.testing.assert_allclose(imported(jnp.asarray(LARGE.numpy())), expected, rtol=1e-6)


def test_whole_numbers_that_stay_small_are_imported():
    for model in (
        Function(lambda x: (x.clamp(0, 1000).long() * 1003 % 97).float()),
        Function(lambda x: torch.arange(3) + (x > 1).long().sum(1, keepdim=True)),
        Function(lambda x: (x.to(torch.int8) + x.to(torch.int8)).float()),
        Buckets(0),
    ):
        imported, expected = from_torch(model, TOKENS), model(LARGE).detach().numpy()
        np.testing.assert_array_equal(imported(jnp.asarray(LARGE.numpy())), expected)


NAN = float("nan")
ROWS = torch.tensor([[1.0, NAN, 3.0, -1.0], [NAN, 2.0, 5.0, 1.0], [4.0, 0.0, -2.0, 7.0]])
ORDERS = {
    "median": lambda x: x.median(1).values,
    "median of all": lambda x: x.median() + x[:, 0] * 0,
    "cummax": lambda x: x.cummax(1).values,
    "cummin": lambda x: x.cummin(1).values,
    "sign": torch.sign,
    "sgn": torch.sgn,
    "max": lambda x: x.max(1).values,
    "amin": lambda x: x.amin(1),
    "argmax": lambda x: x.argmax(1).float(),
    "sort": lambda x: x.sort(1).values,
    "topk": lambda x: x.topk(2, 1).values,
    "clamp": lambda x: x.clamp(0, 2),
    "maximum": lambda x: torch.maximum(x, x.flip(1)),
    "fmax": lambda x: torch.fmax(x, x.flip(1)),
    "relu": torch.relu,
    "hardtanh": torch.nn.functional.hardtanh,
    "max_pool": lambda x: torch.nn.functional.max_pool1d(x, 2),
    "logsumexp": lambda x: x.logsumexp(1),
    "any": lambda x: x.bool().any(1).float(),
}


@pytest.mark.parametrize("name", ORDERS)
def test_not_a_number_goes_the_way_that_it_goes_in_torch(name):
    imported = from_torch(Function(ORDERS[name]), torch.rand(3, 4), verify=False)
    np.testing.assert_array_equal(imported(jnp.asarray(ROWS.numpy())), ORDERS[name](ROWS).numpy())


class AddFirst(torch.nn.Module):
    def forward(self, x):
        x.add_(1)
        x[:, 0] = 0
        return x * 2


@pytest.mark.parametrize(
    "model",
    (
        torch.nn.Sequential(torch.nn.ReLU(inplace=True), torch.nn.Linear(4, 2)),
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Hardtanh(inplace=True)),
        AddFirst(),
    ),
    ids=("relu", "of a view", "add"),
)
def test_a_model_may_overwrite_its_input(model):
    given = ROWS.nan_to_num()
    kept, expected = given.clone(), model(given.clone()).detach().numpy()
    imported = from_torch(model, given)
    assert torch.equal(given, kept)
    x = jnp.asarray(given.numpy())
    np.testing.assert_allclose(imported(x), expected, atol=1e-6)
    np.testing.assert_array_equal(x, kept.numpy())
