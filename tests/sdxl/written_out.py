"""Sampling by a UNet, written out from the formulas of DDPM and DDIM, one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ambient.kernels import euler_maruyama
from ambient.randomness import generator


def doubled(code: ModuleType) -> ModuleType:
    """The module `sdxl.model.sampling`, whose noise is float64, of the same numbers."""
    single = code.noise_from
    code.noise_from = lambda *given, **more: lambda draw: single(*given, **more)(draw).double()
    return code


def draws(stream: str, *, seed: int, shape: tuple[int, ...]) -> Callable[[int], Tensor]:
    """The noise of one image: draw 0 is where it starts, draw i + 1 that of step i."""
    return lambda draw: torch.randn(shape, generator=generator(seed, stream, draw)).double()


def predictor(
    unet: Any, condition: dict[str, Tensor], null: dict[str, Tensor], guidance: float
) -> Callable[[Tensor, float], Tensor]:
    """eps(x_t, t) of one image, with guidance away from `null`."""

    def ask(x: Tensor, t: float, text: dict[str, Tensor]) -> Tensor:
        added = {"text_embeds": text["pooled"].double(), "time_ids": condition["time_ids"].double()}
        given = {"encoder_hidden_states": text["prompt_embeds"].double(), "added_cond_kwargs": added}
        with torch.no_grad():
            return unet(x[None], torch.tensor([t]), **given, return_dict=False)[0][0]

    def eps(x: Tensor, t: float) -> Tensor:
        if guidance == 1:
            return ask(x, t, condition)
        return guidance * ask(x, t, condition) + (1 - guidance) * ask(x, t, null)

    return eps


def sampled(eps: Any, x: Tensor, times: list[float], table: Tensor, kernel: str, z: Callable[[int], Tensor], path: Any) -> Tensor:
    """X_0, or the mean of it at the last time; `table`: alphas_cumprod."""

    def mean_at(x: Tensor, t: float) -> Tensor:
        return (x - (1 - table[int(t)]).sqrt() * eps(x, t)) / table[int(t)].sqrt() if t else x

    for i, (t, s) in enumerate(pairwise(times)):
        h, a_t, a_s = mean_at(x, t), table[int(t)], table[int(s)]
        if t == s:
            continue
        if kernel == "ddim":
            x = a_s.sqrt() * h + (1 - a_s).sqrt() * (x - a_t.sqrt() * h) / (1 - a_t).sqrt()
        elif kernel == "ancestral":
            mean = a_s.sqrt() * (1 - a_t / a_s) / (1 - a_t) * h + (a_t / a_s).sqrt() * (1 - a_s) / (1 - a_t) * x
            x = mean + ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)).sqrt() * z(i + 1)
        else:
            step = euler_maruyama(lambda *_, h=h: h[None], x[None], path=path, t=t, s=s)
            x = step.draw(z(i + 1)[None])[0]
    return mean_at(x, times[-1])
