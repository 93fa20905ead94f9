"""Imported torch models, jitted, beside torch itself in eager mode, on the same threads.

Both sides run the same parameters on the same batch; the outputs are compared before they are timed.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from jaxinfo.network import from_torch

from ._harness import Case, row


def _case(model: Any, example: Any) -> Case:
    import torch

    model = model.eval()
    imported = from_torch(model, example, verify=False)
    run = eqx.filter_jit(lambda model, x: model(x))
    x = jnp.asarray(example.numpy())

    def theirs() -> Any:
        with torch.inference_mode():
            return model(example)

    def check(ours: Any, theirs: Any) -> None:
        expected = theirs.numpy()
        assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max()

    return Case(lambda: run(imported, x), theirs, check)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Any:
    """A convolution that keeps the size up to its stride, with batch norm as after training."""
    from torch import nn

    norm = nn.BatchNorm2d(outputs)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    options = {"padding": kernel // 2, "groups": groups, "bias": False}
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, **options), norm)


def _residual(inputs: int, outputs: int, stride: int) -> Any:
    from torch import nn

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                _convolution(inputs, outputs, 3, stride),
                nn.ReLU(),
                _convolution(outputs, outputs, 3),
            )
            same = inputs == outputs and stride == 1
            self.skip = nn.Identity() if same else _convolution(inputs, outputs, 1, stride)

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(self.body(x) + self.skip(x))

    return Residual()


@row("import resnet", peer="torch")
def _resnet(quick: bool) -> Case:
    """Thirteen convolutions in three stages, on 16 images of 32 x 32."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    width = 16 if quick else 32
    model = nn.Sequential(
        _convolution(3, width, 3),
        nn.ReLU(),
        _residual(width, width, 1),
        _residual(width, width, 1),
        _residual(width, 2 * width, 2),
        _residual(2 * width, 2 * width, 1),
        _residual(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, 10),
    )
    return _case(model, torch.randn(4 if quick else 16, 3, 32, 32))


@row("import resnet18", peer="torch")
def _resnet18(quick: bool) -> Case:
    """The eleven million parameters of ResNet-18, on 8 images of 64 x 64."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    sizes = ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2))
    model = nn.Sequential(
        _convolution(3, 64, 7, 2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        *(block for n, m, s in sizes for block in (_residual(n, m, s), _residual(m, m, 1))),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, 1000),
    )
    size = 32 if quick else 64
    return _case(model, torch.randn(8, 3, size, size))


@row("import mobilenet", peer="torch")
def _mobilenet(quick: bool) -> Case:
    """Depthwise and pointwise convolutions, on 16 images of 32 x 32."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    width = 16 if quick else 32
    layers = [_convolution(3, width, 3, 2), nn.ReLU6()]
    for inputs, outputs, stride in ((1, 2, 1), (2, 4, 2), (4, 4, 1)):
        n, m = inputs * width, outputs * width
        layers += [_convolution(n, n, 3, stride, groups=n), nn.ReLU6()]
        layers += [_convolution(n, m, 1), nn.ReLU6()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10)]
    return _case(nn.Sequential(*layers, *head), torch.randn(4 if quick else 16, 3, 32, 32))


@row("import gpt", peer="torch")
def _gpt(quick: bool) -> Case:
    """Four causal blocks of width 128 on 8 sequences of 64 tokens."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    width, length = (64, 32) if quick else (128, 64)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width),
                nn.GELU(approximate="tanh"),
                nn.Linear(4 * width, width),
            )

        def forward(self, x: Any) -> Any:
            split = self.c_attn(self.ln_1(x)).unflatten(-1, (3, 4, width // 4))
            q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.c_proj(y.transpose(1, 2).flatten(2))
            return x + self.mlp(self.ln_2(x))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte, self.wpe = nn.Embedding(65, width), nn.Embedding(length, width)
            self.h = nn.Sequential(*(Block() for _ in range(4)))
            self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, 65, bias=False)

        def forward(self, ids: Any) -> Any:
            x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
            return self.lm_head(self.ln_f(self.h(x)))

    return _case(GPT(), torch.randint(0, 65, (2 if quick else 8, length)))
