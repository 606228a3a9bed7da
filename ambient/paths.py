"""Linear Gaussian paths X_t = alpha_t X_0 + sigma_t Z, and the transition between two of their levels.

Every path of the paper, and rectified flow, is one pair of functions (alpha_t, sigma_t) of a time t that grows with the
noise; t = 0 is clean data (alpha = 1, sigma = 0). Only the signal-to-noise ratio orders two levels, so variance exploding
(VE), variance preserving (VP) and flow share every formula of this package.

Levels are float64 whatever the data's type: coefficients such as q^2 = sigma_t^2 - r^2 sigma_n^2 are differences of nearly
equal numbers close to t = t_n, and are cast only when they meet the data (`expand`).
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor

Times = float | int | Tensor
Function = TypeVar("Function", bound=Callable[..., Any])
SDXL_BETAS, SDXL_STEPS = (0.00085, 0.012), 1000  # of its training: the first and the last rate, and how many there are
ROUNDED_TIME = 1e-5  # of sigma_t^2: what rounding a time to float32 changes at most, where sigma_t / alpha_t < 100


def expand(value: Tensor, x: Tensor) -> Tensor:
    """Give `value`, of shape () or (B,), the type of `x` (B, ...) and trailing axes, so that the two broadcast.

    Raises: ValueError if `value` has neither one entry nor one entry per sample of `x`.
    """
    if value.ndim > 1 or (value.ndim == 1 and value.shape[0] not in (1, x.shape[0])):
        raise ValueError(f"one level, or one for each of the {x.shape[0]} samples, is needed; got shape {tuple(value.shape)}")
    return value.to(dtype=x.dtype, device=x.device).reshape(value.shape + (1,) * (x.ndim - value.ndim))


def in_own_precision(function: Function) -> Function:
    """`function`, left alone by autocast: it would multiply float32 matrices in half precision where a network is in use."""

    @functools.wraps(function)
    def alone(*args: Any, **options: Any) -> Any:
        with ExitStack() as stack:
            for device in filter(torch.is_autocast_enabled, ("cpu", "cuda", "mps", "xpu")):
                stack.enter_context(torch.autocast(device, enabled=False))
            return function(*args, **options)

    return cast(Function, alone)


def flat(x: Tensor) -> Tensor:
    """Each sample of `x` (B, ...) as a row, (B, D); a sample may be a single number, and B may be 0."""
    return x.reshape(len(x), x.shape[1:].numel())


def shaped_like(noise: Tensor, x: Tensor) -> Tensor:
    """`noise`, which must not broadcast: one draw for several samples is a mistake that nothing else would show."""
    if noise.shape != x.shape:
        raise ValueError(f"noise must be shaped as the data, {tuple(x.shape)}; got {tuple(noise.shape)}")
    return noise


class Level(NamedTuple):
    """The pair (alpha, sigma) of one time, or of one time per sample; float64, shape () or (B,)."""

    alpha: Tensor
    sigma: Tensor

    def like(self, x: Tensor) -> Level:
        """Both coefficients cast and reshaped to broadcast with `x` of shape (B, ...)."""
        return Level(expand(self.alpha, x), expand(self.sigma, x))

    def apply(self, x_0: Tensor, noise: Tensor) -> Tensor:
        """X_t = alpha_t X_0 + sigma_t Z, shapes as `x_0`. Paper: Eq. (3.2). Checked by: theory_checks/test_transition.py"""
        alpha, sigma = self.like(x_0)
        return alpha * x_0 + sigma * shaped_like(noise, x_0)


class Transition(NamedTuple):
    """X_t = ratio X_n + sigma Z' with Z' independent of X_n; float64, shape () or (B,)."""

    ratio: Tensor
    sigma: Tensor

    def like(self, x: Tensor) -> Transition:
        """Both coefficients cast and reshaped to broadcast with `x` of shape (B, ...)."""
        return Transition(expand(self.ratio, x), expand(self.sigma, x))

    def apply(self, x_n: Tensor, noise: Tensor) -> Tensor:
        """Re-noise `x_n` to level t; shapes as `x_n`. Paper: Eq. (3.4). Checked by: theory_checks/test_transition.py"""
        ratio, sigma = self.like(x_n)
        return ratio * x_n + sigma * shaped_like(noise, x_n)


def transition(*, at_n: Level, at_t: Level) -> Transition:
    """The law of X_t given X_n, for t at least as noisy as n.

    X_t = r X_n + q Z',  r = alpha_t / alpha_n,  q^2 = sigma_t^2 - r^2 sigma_n^2.
    VE: r = 1, q^2 = sigma_t^2 - sigma_n^2. VP: r^2 = (1 - sigma_t^2) / (1 - sigma_n^2).

    A level t that is below n by no more than what rounding a time to float32 takes away counts as n: q = 0.

    Paper: Eq. (3.4), (A.24), (A.25). Checked by: theory_checks/test_transition.py
    Raises: ValueError where t is less noisy than n, where n has no signal left (alpha_n = 0), and at t = n if t records
    gradients, since dq/dt is infinite there.
    """
    if torch.any(at_n.alpha == 0):
        raise ValueError("level n holds no signal (alpha_n = 0): nothing can be learned from pure noise")
    ratio = at_t.alpha / at_n.alpha
    scaled = ratio * at_n.sigma
    variance = (at_t.sigma - scaled) * (at_t.sigma + scaled)  # exactly 0 at t = n, where the difference of squares may not be
    if not bool((variance >= -ROUNDED_TIME * at_t.sigma**2).all()):
        raise ValueError(
            "t is less noisy than t_n: data can be given more noise, never less (need t >= t_n; in a reverse step, s <= t)"
        )
    variance = variance.clamp_min(0)
    if variance.requires_grad and bool((variance == 0).any()):
        raise ValueError("the gradient in t is infinite at t = t_n, where noise begins; detach t, or keep it above t_n")
    return Transition(ratio, variance.sqrt())


class Path(ABC):
    """A curve of levels. Times of any shape go in, alpha and sigma of that shape come out."""

    t_max: float

    @abstractmethod
    def level(self, t: Tensor) -> Level:
        """(alpha_t, sigma_t) at checked float64 times."""

    @abstractmethod
    def t_from_log_snr(self, log_snr: Times) -> Tensor:
        """The time at which log(alpha_t^2 / sigma_t^2) equals `log_snr`; float64, shape as given."""

    def __call__(self, t: Times) -> Level:
        """(alpha_t, sigma_t). Raises: ValueError for a time that is negative, not finite, or beyond t_max."""
        times = torch.as_tensor(t, dtype=torch.float64)  # at once: a Python float would pass through float32
        times = times.clone() if times.is_inference() and not torch.is_inference_mode_enabled() else times
        if not bool(((times >= 0) & (times <= self.t_max)).all()):  # NaN fails both comparisons
            raise ValueError(f"times must be finite and lie in [0, {self.t_max:g}] on this path; got {t}")
        return self.level(times)

    def log_snr(self, t: Times) -> Tensor:
        """log(alpha_t^2 / sigma_t^2), strictly decreasing in t; +inf at t = 0. Checked by: theory_checks/test_transition.py"""
        alpha, sigma = self(t)
        return 2 * (alpha.log() - sigma.log())

    def noise_to_signal(self, t: Times) -> Tensor:
        """The noise-to-signal ratio sigma_t / alpha_t, increasing in t: the time of the VE path with the same log-SNR."""
        alpha, sigma = self(t)
        return sigma / alpha

    def t_from_noise_to_signal(self, noise_to_signal: Times) -> Tensor:
        """The inverse, beyond t_max if it lies there; float64, shape as given. Checked by: theory_checks/test_transition.py"""
        return self.t_from_log_snr(-2 * torch.as_tensor(noise_to_signal, dtype=torch.float64).log())


class VarianceExploding(Path):
    """alpha_t = 1, sigma_t = t: time is the noise's standard deviation. Paper: Sec. 2."""

    def __init__(self, t_max: float = 1e4):
        if not 0 < t_max < float("inf"):
            raise ValueError(f"t_max must be positive and finite; got {t_max}")
        self.t_max = float(t_max)

    def level(self, t: Tensor) -> Level:
        return Level(torch.ones_like(t), t)

    def t_from_log_snr(self, log_snr: Times) -> Tensor:
        return torch.exp(-torch.as_tensor(log_snr, dtype=torch.float64) / 2)


class VariancePreserving(Path):
    """alpha_t^2 + sigma_t^2 = 1 with the linear rate beta(t) = beta_min + t (beta_max - beta_min), t in [0, 1].

    -2 log alpha_t = beta_min t + (beta_max - beta_min) t^2 / 2. Paper: Sec. A.3, (A.18). Source: Song et al. 2021, App. C.
    """

    t_max = 1.0

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0):
        if not 0 < beta_min <= beta_max < float("inf"):
            raise ValueError(f"need 0 < beta_min <= beta_max < inf; got {beta_min} and {beta_max}")
        self.beta_min, self.slope = float(beta_min), float(beta_max - beta_min)

    def level(self, t: Tensor) -> Level:
        log_alpha = -(self.beta_min * t + self.slope * t**2 / 2) / 2
        return Level(log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt())

    def t_from_log_snr(self, log_snr: Times) -> Tensor:
        total = torch.nn.functional.softplus(-torch.as_tensor(log_snr, dtype=torch.float64), threshold=40.0)  # -2 log alpha_t
        return 2 * total / (self.beta_min + (self.beta_min**2 + 2 * self.slope * total).sqrt())


class RectifiedFlow(Path):
    """alpha_t = 1 - t, sigma_t = t, t in [0, 1]; at t = 1 no signal is left. Source: Liu et al. 2023 (not in the paper)."""

    t_max = 1.0

    def level(self, t: Tensor) -> Level:
        return Level(1 - t, t)

    def t_from_log_snr(self, log_snr: Times) -> Tensor:
        return torch.sigmoid(-torch.as_tensor(log_snr, dtype=torch.float64) / 2)


class Discrete(Path):
    """The integer times of a noise scheduler, alpha_t^2 = alphas_cumprod[t] for t = 1 .. N - 1, and clean data at t = 0.

    A scheduler's own index 0 is slightly noisy; here t = 0 means clean on every path, so that index is not used.
    Paper: Sec. 4.2 (SDXL: sigma = 0.325, 0.850, 0.981 at t = 100, 500, 800). Checked by: theory_checks/test_schedule.py

    Args: alphas_cumprod: (N,), strictly decreasing, in [0, 1]; for diffusers, `scheduler.alphas_cumprod`.
    Raises: ValueError for a table that is not such a sequence, and for times off the grid.
    """

    def __init__(self, alphas_cumprod: Tensor):
        table = torch.as_tensor(alphas_cumprod).to(torch.float64).cpu()
        if table.ndim != 1 or len(table) < 2 or not bool((table[1:] < table[:-1]).all()) or table[0] > 1 or table[-1] < 0:
            raise ValueError("alphas_cumprod must be one strictly decreasing sequence within [0, 1]")
        self.alphas_cumprod = torch.cat([torch.ones(1, dtype=torch.float64), table[1:]])
        self.t_max = float(len(table) - 1)

    @classmethod
    def scaled_linear(cls, first: float = SDXL_BETAS[0], last: float = SDXL_BETAS[1], count: int = SDXL_STEPS) -> Discrete:
        """beta^(1/2) even from first^(1/2) to last^(1/2), alpha_t^2 the product of 1 - beta up to t; by default SDXL's schedule.

        Checked by: theory_checks/test_schedule.py
        """
        betas = torch.linspace(first**0.5, last**0.5, count, dtype=torch.float64) ** 2
        return cls((1 - betas).cumprod(0))

    def level(self, t: Tensor) -> Level:
        if not bool((t == t.round()).all()):
            raise ValueError(f"this path knows the whole times 0 .. {self.t_max:g} only; got {t}")
        alpha_squared = self.alphas_cumprod.to(t.device)[t.long()]
        return Level(alpha_squared.sqrt(), (1 - alpha_squared).sqrt())

    def t_from_log_snr(self, log_snr: Times) -> Tensor:
        """The grid time whose log-SNR is nearest; float64. Raises: ValueError for NaN."""
        wanted = torch.as_tensor(log_snr, dtype=torch.float64)
        if bool(wanted.isnan().any()):
            raise ValueError("a log-SNR is not a number")
        noisy = self.alphas_cumprod[1:]
        grid = (noisy / (1 - noisy)).log().to(wanted.device)
        nearest = 1 + (wanted.unsqueeze(-1) - grid).abs().argmin(-1).to(torch.float64)
        return torch.where(wanted.isposinf(), 0.0, torch.where(wanted.isneginf(), self.t_max, nearest))
