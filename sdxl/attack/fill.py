"""The masking attack itself, on any denoiser: a hole is filled by a model that is shown what is around it.

Paper: Sec. 4.1, Figs. 1, 9.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, pairwise
from typing import Any

import torch
from torch import Tensor

from ambient.denoisers import Denoiser
from ambient.kernels import KERNELS
from ambient.paths import Path, Times, transition

KNOWING = ("ancestral", "ddim")  # kernels that take X_0 = h for true, as it is where x_0 is known


@torch.no_grad()
def fill(
    denoiser: Denoiser,
    x_0: Tensor,
    hidden: Tensor,
    *,
    path: Path,
    times: list[float],
    noise: Callable[[int], Tensor],
    kernel: str = "ancestral",
    resample: int = 0,
    condition: Any = None,
) -> Tensor:
    """What may stand where `hidden`, x_0 elsewhere: a sampler whose denoiser is told x_0 wherever it is known.

    The known part so walks exactly as X_t given X_0 does, step by step, and what x_0 holds in the hole is never read.
    The law of the hidden part is approximate. It is drawn given the *noisy* known part, which tells little at high levels, and
    what was chosen there is not taken back: it is right where the two parts are independent, or where the known one leaves no
    doubt while there is much noise, else it follows its surroundings too little: of two numbers that correlate by .8, 25
    ancestral steps move the second by .59 of what the first says. `resample`: so many times each step is undone by fresh noise
    and made again, for 1 + resample times the cost: .89 with 4. But each step adds its own bias once more, and an ancestral one
    varies too little (a spread of .82 of what is right): finer `times` mend that.
    Source: Lugmayr et al. 2022 (RePaint), Algorithm 1; its bias: Trippe et al. 2023, Sec. 3.2. Paper: Figs. 1, 9.

    Args: x_0 (B, ...); hidden: bool, to be broadcast to it; times: falling, to 0; noise(i): standard normal like x_0, draw i.
    """

    def knowing(x_t: Tensor, t: Times, condition: Any = None) -> Tensor:
        return torch.where(hidden, denoiser(x_t, t, condition), x_0)

    draw, step = (noise(i).to(x_0) for i in count()), KERNELS[kernel]
    start = next(draw)
    x_t = torch.where(hidden, start, path(times[0]).apply(x_0, start))
    for t, s in pairwise(times):
        back = transition(at_n=path(s), at_t=path(t))
        for _ in range(resample):
            x_t = back.apply(step(knowing, x_t, path=path, t=t, s=s, condition=condition).draw(next(draw)), next(draw))
        x_t = step(knowing, x_t, path=path, t=t, s=s, condition=condition).draw(next(draw))
    return x_t
