"""Options of torch layers: forward and gradient, many layers of one kind in one import."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxinfo.network import from_torch

torch = pytest.importorskip("torch", reason="imports models of torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402
from torch_zoo import Function  # noqa: E402

GRID = torch.linspace(-1, 1, 12).reshape(1, 2, 3, 2)


class Each(nn.Module):
    """All layers on one input, which comes from a parameter, so that gradients pass each layer."""

    def __init__(self, stem, layers):
        super().__init__()
        self.stem = stem
        self.layers = nn.ModuleList(
            [x if isinstance(x, nn.Module) else Function(x) for x in layers]
        )

    def forward(self, x):
        x = self.stem(x)
        return tuple(layer(x) for layer in self.layers)


def one_dimensional():
    return Each(
        nn.Conv1d(2, 4, 3, padding=1),
        [
            nn.Conv1d(4, 2, 3, stride=2, padding=2, dilation=2, groups=2),
            nn.Conv1d(4, 2, 3, padding="same", padding_mode="circular"),
            nn.ConvTranspose1d(4, 2, 3, stride=2, padding=1, output_padding=1, dilation=2),
            nn.MaxPool1d(3, stride=2, padding=1, ceil_mode=True),
            nn.MaxPool1d(2, dilation=2),
            nn.MaxPool1d(2, return_indices=True),
            nn.AvgPool1d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
            nn.AdaptiveAvgPool1d(4),
            nn.AdaptiveMaxPool1d(3),
            nn.LPPool1d(2, 3),
            nn.BatchNorm1d(4, affine=False),
            nn.InstanceNorm1d(4, affine=True),
            nn.ReflectionPad1d((2, 1)),
            nn.ReplicationPad1d(2),
            nn.ZeroPad1d((1, -1)),
            nn.Upsample(scale_factor=1.7, mode="linear"),
            nn.Upsample(size=5, mode="nearest"),
            nn.Unflatten(1, (2, 2)),
            nn.GLU(dim=1),
            lambda x: x.unfold(2, 3, 2),
        ],
    ), torch.randn(2, 2, 9)


def two_dimensional():
    return Each(
        nn.Conv2d(2, 4, 1),
        [
            nn.Conv2d(4, 4, (3, 2), stride=(2, 1), padding=(0, 1), dilation=(1, 2), groups=4),
            nn.ConvTranspose2d(4, 2, 3, stride=(2, 1), padding=1, output_padding=(1, 0), groups=2),
            nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
            nn.MaxPool2d((2, 3), dilation=(1, 2), return_indices=True),
            nn.AvgPool2d((2, 3), stride=(2, 2), padding=(1, 1), ceil_mode=True),
            nn.AvgPool2d(2, divisor_override=3),
            nn.AdaptiveAvgPool2d((3, None)),
            nn.AdaptiveAvgPool2d((3, 2)),
            nn.AdaptiveMaxPool2d((2, 3)),
            nn.AdaptiveMaxPool2d((2, 3), return_indices=True),
            nn.BatchNorm2d(4, track_running_stats=False),
            nn.GroupNorm(2, 4),
            nn.LocalResponseNorm(3),
            nn.ReflectionPad2d((1, 2, 0, 1)),
            nn.ConstantPad2d(1, 0.5),
            nn.PixelShuffle(2),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Upsample(size=(5, 3), mode="bicubic"),
            nn.Upsample(scale_factor=(0.5, 1.5), mode="nearest-exact"),
            lambda x: F.interpolate(x, size=(3, 4), mode="bilinear", antialias=True),
            lambda x: F.grid_sample(x, GRID.expand(2, -1, -1, -1), align_corners=True),
            nn.Unfold(2, padding=1),
            nn.Dropout2d(),
            lambda x: F.fold(F.unfold(x, 2), (6, 7), 2),
            nn.ChannelShuffle(2),
        ],
    ), torch.randn(2, 2, 6, 7)


def sampled(**options):
    """An image read at places that come from the image, some of them outside."""

    def layer(x):
        grid = 1.5 * torch.tanh(x[:, [0, 1, 0]].permute(0, 2, 3, 4, 1))
        return F.grid_sample(x, grid, **options)

    return layer


def three_dimensional():
    return Each(
        nn.Conv3d(1, 2, 2),
        [
            nn.ConvTranspose3d(2, 2, 2, stride=2),
            nn.MaxPool3d(2, stride=1),
            nn.AvgPool3d(2, padding=1, count_include_pad=False),
            nn.AdaptiveAvgPool3d((1, 2, 3)),
            nn.BatchNorm3d(2),
            nn.Upsample(scale_factor=2, mode="trilinear"),
            sampled(align_corners=True),
            sampled(align_corners=False, padding_mode="reflection"),
        ],
    ), torch.randn(2, 1, 4, 4, 4)


def activations():
    names = """CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish
    PReLU ReLU ReLU6 RReLU SELU SiLU Sigmoid Softmin Softplus Softshrink Softsign Tanh Tanhshrink
    LogSoftmax""".split()
    made = [
        getattr(nn, name)(**({"dim": -1} if "max" in name or "min" in name else {}))
        for name in names
    ]
    return Each(nn.Linear(3, 4), [*made, nn.Threshold(0.1, 20.0)]), torch.randn(5, 3)


def functions():
    def fn(f):
        return f

    return Each(
        nn.Linear(4, 6),
        [
            fn(lambda x: torch.einsum("bi,bj->bij", x, x)),
            fn(lambda x: torch.cumsum(x, -1) + torch.cumprod(x, -1)),
            fn(lambda x: torch.logcumsumexp(x, -1)),
            fn(lambda x: x.sort(-1, descending=True).values),
            fn(lambda x: x.topk(2, -1)),
            fn(lambda x: x.gather(1, torch.tensor([[0, 2], [1, 1]]))),
            fn(
                lambda x: torch.zeros(2, 6).scatter_add(1, torch.tensor([[0, 2], [1, 1]]), x[:, :2])
            ),
            fn(
                lambda x: x.scatter_reduce(
                    1, torch.tensor([[0, 2, 2], [1, 1, 4]]), x[:, :3], "prod"
                )
            ),
            fn(lambda x: x.index_reduce(1, torch.tensor([0, 0]), x[:, :2], "prod")),
            fn(lambda x: (x[:, torch.tensor([True, False] * 3)], torch.bucketize(x, GRID.ravel()))),
            fn(lambda x: x.masked_select(torch.tensor([True, False] * 3))),
            fn(lambda x: x[:, torch.nonzero(torch.tensor([0, 1, 1]))[:, 0]]),
            fn(lambda x: torch.linalg.svd(x[:, :2])[1] + torch.linalg.pinv(x).sum()),
            fn(lambda x: ((x * 9).int() >> 1) + ((x * 9).int() << 2)),
            fn(lambda x: torch.gcd((x * 9).int(), torch.lcm((x * 2).int(), torch.tensor(6)))),
            fn(lambda x: x[:, [0, 2]].index_add(1, torch.tensor([1]), x[:, 3:4])),
            fn(lambda x: torch.where(x > 0, x, x.exp())),
            fn(lambda x: x.masked_fill(x < 0, -1.0)),
            fn(lambda x: x.clamp(-0.2, 0.3)),
            fn(lambda x: (x.max(-1).values, x.min(-1).indices, x.amax(-1))),
            fn(lambda x: (x.mean(-1), x.var(-1), x.std(-1, unbiased=False), x.norm(dim=-1))),
            fn(lambda x: F.normalize(x, dim=-1)),
            fn(lambda x: F.cosine_similarity(x, x.roll(1, -1), dim=-1)),
            fn(lambda x: x.view(-1, 2, 3).flip(1).transpose(1, 2).reshape(2, -1)),
            fn(lambda x: torch.stack(x.chunk(3, dim=-1), dim=1).squeeze(0)),
            fn(lambda x: x.repeat_interleave(2, dim=1).repeat(1, 2)),
            fn(lambda x: x.clamp(-9, 9).long().float() + (x > 0).to(torch.float32)),
            fn(
                lambda x: (
                    x.sum() * torch.stack([torch.tril_indices(3, 2), torch.triu_indices(2, 3)])
                )
            ),
            fn(lambda x: torch.tril(x[:, :, None] * x[:, None, :])),
            fn(lambda x: F.one_hot(x.argmax(-1), 6) * x),
            fn(lambda x: torch.cdist(x[None], x[None].flip(1))),
            fn(lambda x: F.layer_norm(x, (6,)) + F.rms_norm(x, (6,))),
            fn(lambda x: x.new_zeros(x.shape).index_put((torch.tensor([0]),), x[1])),
            fn(lambda x: torch.logsumexp(x, -1) + torch.floor_divide(x.detach().sum(-1), 2)),
            fn(lambda x: torch.nan_to_num(torch.log(x)).clamp_min(-5.0)),
        ],
    ), torch.randn(2, 4)


def recurrent():
    class Stem(nn.Module):
        def forward(self, x):
            return x

    class First(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x)

    layers = [
        nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True),
        nn.LSTM(3, 4, proj_size=2, bias=False, batch_first=True),
        nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True),
        nn.RNN(3, 4, batch_first=True),
        nn.RNN(3, 4, nonlinearity="relu", bias=False, batch_first=True),
    ]
    return Each(Stem(), [First(layer) for layer in layers]), torch.randn(2, 5, 3)


def attention():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))
            self.multi = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True)
            self.decoder = nn.TransformerDecoderLayer(8, 2, 12, batch_first=True)
            self.register_buffer("mask", torch.tensor([[True, True, False]] * 2 + [[False] * 3]))

        def forward(self, x):
            q, k, v = (f(x).unflatten(-1, (2, 4)).transpose(1, 2) for f in (self.q, self.k, self.v))
            one = (slice(None), slice(0, 1))
            return (
                F.scaled_dot_product_attention(q, k, v),
                F.scaled_dot_product_attention(q, k, v, is_causal=True),
                F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask),
                F.scaled_dot_product_attention(q, k, v, attn_mask=torch.ones(3, 3).tril()),
                F.scaled_dot_product_attention(q, k[one], v[one], scale=0.3, enable_gqa=True),
                self.multi(x, x, x, key_padding_mask=self.mask[:1].expand(x.shape[0], -1)),
                self.decoder(x, x, tgt_mask=nn.Transformer.generate_square_subsequent_mask(3)),
            )

    return Attention(), torch.randn(2, 3, 8)


KINDS = (
    one_dimensional, two_dimensional, three_dimensional, activations, functions, recurrent, attention,
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:LSTM with projections", r"ignore:index_reduce\(\) is in beta")
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_layers_and_their_gradients(make):
    torch.manual_seed(0)
    model, example = make()
    report = from_torch(model, example).report
    assert report.outputs < 1e-5 and max(report.gradients.values()) < 1e-5
    assert len(report.layers) >= 4


def test_views_of_memory():
    class Strided(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 2).to(memory_format=torch.channels_last)
            self.pool = nn.AdaptiveAvgPool2d(1)  # looks at its input's order in memory
            self.weight = nn.Parameter(torch.randn(3, 4))

        def forward(self, x):
            last = self.weight.t().as_strided((4, 2), (2, 5), 0)
            return self.pool(self.conv(x)).flatten(1) @ last

    torch.manual_seed(0)
    x = torch.randn(2, 1, 4, 4).to(memory_format=torch.channels_last)
    imported = from_torch(Strided(), x)
    assert imported.report.outputs < 1e-5
    assert imported(jnp.asarray(x[0].numpy())).shape == (2,)

    class Gaps(nn.Module):
        def forward(self, x):
            return x[:, ::2].as_strided((2, 2), (1, 1))

    with pytest.raises(NotImplementedError, match="contiguous"):
        from_torch(Gaps(), torch.randn(2, 4), batch_axis=None)


def test_autoregressive_sampling_code_is_refused_with_its_reason():
    class Noise(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    with pytest.raises(NotImplementedError, match="aten.rand_like.default|aten.rand.default"):
        from_torch(Noise(), torch.randn(2, 3))


def test_vmap_and_grad_with_respect_to_the_input():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.SiLU(), nn.Flatten(), nn.Linear(8, 1))
    imported = from_torch(model, torch.randn(1, 1, 6))
    x = torch.randn(3, 1, 6, requires_grad=True)
    model.eval()(x).sum().backward()
    ours = jax.vmap(jax.grad(lambda one: imported(one)[0]))(jnp.asarray(x.detach().numpy()))
    np.testing.assert_allclose(ours, x.grad, rtol=1e-4, atol=1e-6)
