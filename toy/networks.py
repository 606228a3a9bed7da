"""The networks of the toy experiments: F(x, c_noise), zero at the start, for points and flat images (B, D)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import UserError

FREQUENCIES = torch.tensor([0.3, 1.0, 1.8, 2.5])


def level_features(c_noise: Tensor, like: Tensor) -> Tensor:
    """The noise level and its sines and cosines, (B, 9)."""
    angles = c_noise[:, None] * FREQUENCIES.to(like)
    return torch.cat([c_noise[:, None], angles.sin(), angles.cos()], 1)


def zeroed(layer: Any) -> Any:
    """The layer with all its weights set to 0: a network that ends with it is 0 at the start."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class MLP(nn.Module):
    """A network for points, with 13,378 parameters in two dimensions."""

    def __init__(self, dim: int, width: int = 64, depth: int = 4, outputs: int | None = None):
        super().__init__()
        sizes = [dim + 1 + 2 * len(FREQUENCIES), *[width] * depth]
        layers: list[nn.Module] = []
        for i, o in pairwise(sizes):
            layers += [nn.Linear(i, o), nn.SiLU()]
        self.layers = nn.Sequential(*layers, zeroed(nn.Linear(width, dim if outputs is None else outputs)))

    def forward(self, x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
        return self.layers(torch.cat([x, level_features(c_noise, x)], 1))


class WideMLP(nn.Module):
    """A network for flat images: residual layers that each see the noise level; one core is enough to train it."""

    def __init__(self, dim: int, width: int = 512, depth: int = 3):
        super().__init__()
        features = 1 + 2 * len(FREQUENCIES)
        self.first, self.last = nn.Linear(dim, width), zeroed(nn.Linear(width, dim))
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.levels = nn.ModuleList(nn.Linear(features, 2 * width) for _ in range(depth))

    def forward(self, x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
        level, y = level_features(c_noise, x), self.first(x)
        for layer, of_level in zip(self.layers, self.levels, strict=True):
            scale, shift = of_level(level).chunk(2, 1)
            y = y + layer(nn.functional.silu(y * (1 + scale) + shift))
        return self.last(nn.functional.silu(y))


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        zeroed(self.second)
        self.level = nn.Linear(1 + 2 * len(FREQUENCIES), 2 * channels)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        scale, shift = self.level(level)[:, :, None, None].chunk(2, 1)
        return x + self.second(nn.functional.silu(self.first(nn.functional.silu(x)) * (1 + scale) + shift))


class ConvNet(nn.Module):
    """A network for flat images: convolutions at full and half size around a dense layer, which sees the whole digit.

    It has no normalisation, which would hide the noise level. On one core it learns more in a second than `UNet`.
    """

    def __init__(self, size: int, channels: tuple[int, int] = (16, 32), dense: int = 128):
        super().__init__()
        (fine, coarse), features = channels, 1 + 2 * len(FREQUENCIES)
        self.size, inner = size, coarse * (size // 2) ** 2
        self.first, self.down = nn.Conv2d(1, fine, 3, padding=1), nn.Conv2d(fine, coarse, 2, stride=2)
        self.before, self.after = _Residual(fine), _Residual(fine)
        self.into, self.out_of = _Residual(coarse), _Residual(coarse)
        self.encode, self.middle, self.decode = nn.Linear(inner, dense), nn.Linear(dense, dense), zeroed(nn.Linear(dense, inner))
        self.level = nn.Linear(features, 2 * dense)
        self.up, self.last = nn.ConvTranspose2d(coarse, fine, 2, stride=2), zeroed(nn.Conv2d(fine, 1, 3, padding=1))

    def forward(self, x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
        silu, level = nn.functional.silu, level_features(c_noise, x)
        full = self.before(self.first(x.reshape(-1, 1, self.size, self.size)), level)
        half = self.into(self.down(full), level)
        scale, shift = self.level(level).chunk(2, 1)
        digit = self.encode(silu(half).flatten(1))
        digit = digit + self.middle(silu(digit * (1 + scale) + shift))
        half = self.out_of(half + self.decode(silu(digit)).reshape(half.shape), level)
        return self.last(silu(self.after(full + self.up(half), level))).reshape(x.shape)


class UNet(nn.Module):
    """A network for flat images: diffusers' UNet2DModel on blocks of 2 x 2 pixels."""

    def __init__(self, size: int, channels: int = 32):
        super().__init__()
        try:
            from diffusers.models.unets.unet_2d import UNet2DModel  # takes a second, and nothing else here needs it
        except ImportError as error:
            raise UserError("--network unet needs diffusers: pip install diffusers") from error
        self.size, self.inner = size, size // 2
        widths = (channels,) if self.inner % 2 else (channels, 2 * channels)
        self.unet = UNet2DModel(
            sample_size=self.inner,
            in_channels=4,
            out_channels=4,
            block_out_channels=widths,
            down_block_types=("DownBlock2D",) * len(widths),
            up_block_types=("UpBlock2D",) * len(widths),
            layers_per_block=1,
            norm_num_groups=8,
            add_attention=False,
        )
        zeroed(self.unet.conv_out)

    def forward(self, x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
        blocks = nn.functional.pixel_unshuffle(x.reshape(-1, 1, self.size, self.size), 2)
        times = (c_noise + 8) * (1000 / 16)  # the range for which its sines and cosines are made
        return nn.functional.pixel_shuffle(self.unet(blocks, times).sample, 2).reshape(x.shape)
