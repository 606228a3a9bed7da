"""The network of the toy experiments: a small MLP on the point and on features of the noise level."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

FREQUENCIES = torch.tensor([0.3, 1.0, 1.8, 2.5])


class MLP(nn.Module):
    """F(x, c_noise) for points (B, D); 13,378 parameters in two dimensions. Zero at the start: the skip alone."""

    def __init__(self, dim: int, width: int = 64, depth: int = 4, outputs: int | None = None):
        super().__init__()
        features = dim + 1 + 2 * len(FREQUENCIES)
        sizes = [features, *[width] * depth]
        layers: list[nn.Module] = []
        for i, o in pairwise(sizes):
            layers += [nn.Linear(i, o), nn.SiLU()]
        last = nn.Linear(width, dim if outputs is None else outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, x: Tensor, c_noise: Tensor, condition: Any = None) -> Tensor:
        angles = c_noise[:, None] * FREQUENCIES.to(x)
        return self.layers(torch.cat([x, c_noise[:, None], angles.sin(), angles.cos()], 1))
