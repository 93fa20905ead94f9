"""Small torch models of the kinds that people bring, each with an example input."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Function(nn.Module):
    """A function of tensors as a model without parameters."""

    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, x):
        return self.fn(x)


def mlp():
    return nn.Sequential(
        nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3), nn.Sigmoid()
    ), torch.randn(3, 6)


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 3, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        )
        self.drop = nn.Dropout(0.5)
        self.classifier = nn.Sequential(nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 3))

    def forward(self, x):
        return self.classifier(self.drop(torch.flatten(self.features(x), 1)))


def lenet():
    return LeNet(), torch.randn(1, 1, 14, 14)


class Residual(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        skip = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += skip
        return self.relu(y)


class ResNet(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = Residual(width, width, 1)
        self.layer2 = Residual(width, 2 * width, 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(2 * width, 5)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        x = self.avgpool(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(x, 1))


def resnet():
    model = ResNet()
    with torch.no_grad():  # statistics as after training
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
                module.weight.normal_(1.0, 0.2)
                module.bias.normal_()
    return model, torch.randn(2, 3, 20, 20)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, squeeze and excitation, projection."""

    def __init__(self, width):
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(width, 2 * width, 1), nn.Hardswish())
        self.depthwise = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width), nn.ReLU6()
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(2 * width, 2, 1),
            nn.SiLU(),
            nn.Conv2d(2, 2 * width, 1),
        )
        self.gate = nn.Hardsigmoid()
        self.project = nn.Conv2d(2 * width, width, 1)

    def forward(self, x):
        y = self.depthwise(self.expand(x))
        return x + self.project(y * self.gate(self.squeeze(y)))


def mobilenet():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2),
        nn.Hardswish(),
        InvertedResidual(4),
        nn.Flatten(),
        nn.LazyLinear(3),
    ), torch.randn(2, 3, 9, 9)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1), nn.InstanceNorm2d(3), nn.LeakyReLU()
        )
        self.bottom = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ELU())
        self.up = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.smooth = nn.Conv2d(6, 3, 3, padding="same", padding_mode="reflect")
        self.out = nn.Conv2d(6, 1, 1)

    def forward(self, x):
        skip = self.down(x)
        y = self.bottom(F.max_pool2d(skip, 2))
        upsampled = F.interpolate(y[:, :3], scale_factor=2, mode="bilinear", align_corners=False)
        y = self.smooth(torch.cat([self.up(y), skip], 1))
        return self.out(torch.cat([y, upsampled], 1))


def unet():
    return UNet(), torch.randn(2, 1, 8, 8)


class ConvNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 2 * width)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(2 * width, width)
        self.gamma = nn.Parameter(0.1 * torch.ones(width))

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(self.act(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


def convnext():
    return nn.Sequential(
        nn.Conv2d(3, 4, 4, stride=4),
        ConvNeXtBlock(4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(1),
        nn.Linear(4, 3),
    ), torch.randn(2, 3, 16, 16)


class ViT(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, stride=4)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, width))
        layer = nn.TransformerEncoderLayer(
            width, 2, 16, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        return self.head(self.encoder(x)[:, 0])


def vit():
    return ViT(), torch.randn(1, 3, 8, 8)


class Bert(nn.Module):
    """Token, position and type embeddings, post-norm attention with a padding mask, a pooler."""

    def __init__(self, width=8, heads=2):
        super().__init__()
        self.words = nn.Embedding(20, width, padding_idx=0)
        self.positions = nn.Embedding(6, width)
        self.register_buffer("position_ids", torch.arange(6)[None], persistent=False)
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm1 = nn.LayerNorm(width)
        self.intermediate, self.output = nn.Linear(width, 16), nn.Linear(16, width)
        self.norm2 = nn.LayerNorm(width)
        self.pooler = nn.Linear(width, width)
        self.heads = heads

    def forward(self, input_ids, attention_mask):
        b, t = input_ids.shape
        x = self.norm(self.words(input_ids) + self.positions(self.position_ids[:, :t]))

        def heads(y):
            return y.view(b, t, self.heads, -1).transpose(1, 2)

        bias = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
        scores = heads(self.query(x)) @ heads(self.key(x)).transpose(-1, -2)
        weights = torch.softmax(scores / math.sqrt(x.shape[-1] / self.heads) + bias, dim=-1)
        context = (weights @ heads(self.value(x))).transpose(1, 2).reshape(b, t, -1)
        x = self.norm1(x + self.out(context))
        x = self.norm2(x + self.output(F.gelu(self.intermediate(x))))
        return {"last": x, "pooled": torch.tanh(self.pooler(x[:, 0]))}


def bert():
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    return Bert(), {"input_ids": torch.randint(0, 20, (2, 6)) * mask, "attention_mask": mask}


class GPTBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        self.heads = heads

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (
            y.view(b, t, self.heads, c // self.heads).transpose(1, 2)
            for y in self.c_attn(self.ln_1(x)).split(c, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(b, t, c))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """A decoder with a causal mask and an output matrix tied to the embedding."""

    def __init__(self, vocabulary=17, width=8, heads=2, layers=2, length=16):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.h = nn.ModuleList(GPTBlock(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, vocabulary, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


def gpt():
    return GPT(), torch.randint(0, 17, (2, 7))


class Tagger(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.embedding = nn.Embedding(11, 5)
        self.rnn = kind(5, 4, batch_first=True, **options)
        self.out = nn.Linear(4 * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, ids):
        y, _ = self.rnn(self.embedding(ids))
        return F.log_softmax(self.out(y), dim=-1)


def lstm_tagger():
    return Tagger(nn.LSTM, num_layers=2, bidirectional=True, dropout=0.1), torch.randint(
        0, 11, (2, 6)
    )


def gru_tagger():
    return Tagger(nn.GRU), torch.randint(0, 11, (2, 6))


class WaveNet(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.start = nn.Conv1d(1, width, 1)
        self.filters = nn.ModuleList(nn.Conv1d(width, width, 2, dilation=2**i) for i in range(3))
        self.gates = nn.ModuleList(nn.Conv1d(width, width, 2, dilation=2**i) for i in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(3))
        self.end = nn.utils.parametrizations.weight_norm(nn.Conv1d(width, 2, 1))

    def forward(self, x):
        x, total = self.start(x), 0
        for i, (f, g, s) in enumerate(zip(self.filters, self.gates, self.skips, strict=True)):
            y = F.pad(x, (2**i, 0))
            y = torch.tanh(f(y)) * torch.sigmoid(g(y))
            total = total + s(y)
            x = x + y
        return self.end(F.relu(total))


def wavenet():
    return WaveNet(), torch.randn(2, 1, 12)


def autoencoder():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.PReLU(4),
        nn.Conv2d(4, 2, 3, stride=2, padding=1),
        nn.Softplus(),
        nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1),
        nn.SELU(),
        nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1, groups=2),
        nn.Sigmoid(),
    ), torch.randn(2, 1, 8, 8)


class Llama(nn.Module):
    """Rotary embeddings as complex numbers, grouped queries, RMS norm, a gated MLP."""

    def __init__(self, width=8, heads=4, groups=2, vocabulary=11, length=9):
        super().__init__()
        self.shape = (-1, width // heads)
        self.embedding = nn.Embedding(vocabulary, width)
        self.q, self.o = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.k, self.v = (nn.Linear(width, width // groups, bias=False) for _ in range(2))
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.gate, self.up = (nn.Linear(width, 12, bias=False) for _ in range(2))
        self.down, self.groups = nn.Linear(12, width, bias=False), groups
        angles = torch.arange(length)[:, None] / 100.0 ** torch.arange(0, 1, 2 / self.shape[1])
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles), False)

    def rotated(self, x):
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.turns[: x.shape[1], None]).flatten(3)

    def forward(self, ids):
        x = self.embedding(ids)
        y = self.norm1(x)
        q, k, v = (f(y).unflatten(-1, self.shape) for f in (self.q, self.k, self.v))
        q, k = self.rotated(q), self.rotated(k)
        k, v = (z.repeat_interleave(self.groups, dim=2) for z in (k, v))
        q, k, v = (z.transpose(1, 2) for z in (q, k, v))
        mask = torch.full((ids.shape[1],) * 2, -torch.inf).triu(1)
        weights = torch.softmax(q @ k.transpose(2, 3) / self.shape[1] ** 0.5 + mask, dim=-1)
        x = x + self.o((weights @ v).transpose(1, 2).flatten(2))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def llama():
    return Llama(), torch.randint(0, 11, (2, 5))


class T5(nn.Module):
    """A learned bias for each bucket of distances, which are rounded logarithms; a shifted window."""

    def __init__(self):
        super().__init__()
        self.bias, self.qkv, self.out = nn.Embedding(8, 2), nn.Linear(4, 12), nn.Linear(4, 4)

    def forward(self, x):
        b, t, _ = x.shape
        far = torch.arange(t)[None] - torch.arange(t)[:, None]
        large = 2 + (torch.log(far.abs().float() / 2) / math.log(8) * 2).long()
        near = torch.where(far.abs() < 2, far.abs(), torch.min(large, torch.full_like(large, 3)))
        bias = self.bias(near + (far > 0) * 4).permute(2, 0, 1)
        q, k, v = self.qkv(x.roll(1, 1)).view(b, t, 3, 2, 2).permute(2, 0, 3, 1, 4).unbind(0)
        y = torch.softmax(q @ k.mT + bias, dim=-1) @ v
        return x + self.out(y.transpose(1, 2).reshape(b, t, -1)).roll(-1, 1)


def t5():
    return T5(), torch.randn(2, 7, 4)


class Fourier(nn.Module):
    """A Fourier layer, spectral and weight norm, an orthogonal matrix, bags of words."""

    def __init__(self):
        super().__init__()
        made = nn.utils.parametrizations
        self.modes = nn.Parameter(torch.randn(2, 2, dtype=torch.cfloat))
        self.bag = nn.EmbeddingBag(7, 6, mode="max", padding_idx=1)
        self.spectral = made.spectral_norm(nn.Linear(6, 6))
        self.weight = made.weight_norm(nn.Linear(6, 4))
        self.orthogonal = made.orthogonal(nn.Linear(4, 4))

    def forward(self, x, ids):
        waves = torch.fft.rfft(x + self.bag(ids)[:, None])
        low = torch.einsum("bim,im->bim", waves[..., :2], self.modes)
        x = torch.fft.irfft(F.pad(low, (0, 2)), n=6) + torch.fft.fft2(x).real / 6
        y = self.orthogonal(self.weight(torch.tanh(self.spectral(x))))
        return {"y": y, "spectrum": torch.fft.fft(y, norm="ortho")}


def fourier():
    return Fourier(), {"x": torch.randn(2, 2, 6), "ids": torch.randint(0, 7, (2, 3))}


ZOO = (
    mlp, lenet, resnet, mobilenet, unet, convnext, vit, bert, gpt,
    lstm_tagger, gru_tagger, wavenet, autoencoder, llama, t5, fourier,
)  # fmt: skip


def build(make):
    """A model in training mode and its example, the same each time."""
    torch.manual_seed(0)
    model, example = make()
    model.eval()
    with torch.no_grad():  # lazy layers take their shapes
        model(**example) if isinstance(example, dict) else model(example)
    return model.train(), example
