"""Stand-ins: a denoiser with a parameter that remembers how it was called, and the losses in one form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ambient import losses
from ambient.kernels import ancestral
from ambient.paths import Discrete, RectifiedFlow, VarianceExploding, VariancePreserving, flat
from ambient.randomness import generator

DISCRETE = Discrete(torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0))
PATHS = {"VE": VarianceExploding(), "VP": VariancePreserving(), "flow": RectifiedFlow(), "discrete": DISCRETE}


def normal(*shape: int, step: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator(0, "test", step)).to(dtype)


class Recorder(nn.Module):
    """h(x, t, c) = tanh(w x) + w c["shift"], with one parameter w; keeps the arguments of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))
        self.calls: list[tuple[Tensor, Any, Any]] = []

    def forward(self, x_t: Tensor, t: Any, condition: Any = None) -> Tensor:
        self.calls.append((x_t, t, condition))
        shift = 0.0
        if condition is not None:
            shift = condition["shift"].reshape(-1, *[1] * (x_t.ndim - 1)).to(x_t)
        w = self.w.to(x_t.dtype)
        return (w * x_t).tanh() + w * shift


Loss = Callable[..., Tensor]


def _denoising(h: Any, x: Tensor, z: Tensor, *, path: Any, t_n: Any, t: Any, condition: Any = None) -> Tensor:
    return losses.denoising(h, x, z, path=path, t=t, condition=condition)


def _consistency(antithetic: bool, h: Any, x: Tensor, z: Tensor, *, path: Any, t_n: Any, t: Any, condition: Any = None) -> Tensor:
    """A step from t down to t_n."""
    noise = torch.stack([z, flat(z).flip(1).reshape(z.shape)])
    return losses.consistency(h, x, noise, path=path, t=t, s=t_n, kernel=ancestral, antithetic=antithetic, condition=condition)


def _sure(with_probe: bool, difference_step: float | None, h: Any, x: Tensor, z: Tensor, *, path: Any, t_n: Any, t: Any,
          condition: Any = None) -> Tensor:  # fmt: skip
    probe = z if with_probe else None
    return losses.sure(h, x, probe, path=path, t_n=t_n, difference_step=difference_step, condition=condition)


LOSSES: dict[str, Loss] = {
    "denoising": _denoising,
    "ambient, x_n": losses.ambient,
    "ambient, eps": partial(losses.ambient, space="eps"),
    "ambient, x_0": partial(losses.ambient, space="x_0"),
    "antithetic ambient": losses.antithetic_ambient,
    "consistency": partial(_consistency, False),
    "antithetic consistency": partial(_consistency, True),
    "SURE": partial(_sure, False, None),
    "SURE, probe": partial(_sure, True, None),
    "SURE, difference": partial(_sure, True, 0.25),
    "Noisier2Noise": losses.noisier2noise,
}
