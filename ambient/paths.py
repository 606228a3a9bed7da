"""Linear Gaussian paths X_t = alpha_t X_0 + sigma_t Z, and the transition between two of their levels.

X_0 is clean data, and Z is standard normal noise. Every path of the paper, and rectified flow, is one pair of functions (alpha_t,
sigma_t) of a time t that grows with the noise; at t = 0, alpha = 1 and sigma = 0. Two levels are ordered by their signal-to-noise
ratio alone. Therefore variance exploding (VE), variance preserving (VP) and flow paths share every formula of this package.

The data X_n have the level (alpha_n, sigma_n) of a time t_n. Adding noise makes a noisier X_t = r X_n + q Z' (`transition`).
Levels are float64, whatever the type of the data, because q^2 is a difference of nearly equal numbers when t is close to t_n.
`expand` casts a coefficient only where it is multiplied with the data. Samples are (B, ...); times and levels are () or (B,).
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
SDXL_BETAS, SDXL_STEPS = (0.00085, 0.012), 1000  # SDXL's training schedule: first and last beta, number of times
Q_SQUARED_ROUNDING = 1e-5  # rounding t to float32 changes q^2 / sigma_t^2 by at most this if sigma_t / alpha_t < 100


def expand(value: Tensor, x: Tensor) -> Tensor:
    """`value`, () or (B,), with the type and device of `x` (B, ...) and with trailing axes, so that the two broadcast.

    Raises: ValueError if `value` has neither one entry nor one entry for each sample of `x`.
    """
    if value.ndim > 1 or (value.ndim == 1 and value.shape[0] not in (1, x.shape[0])):
        raise ValueError(f"one level, or one for each of the {x.shape[0]} samples, is needed; got shape {tuple(value.shape)}")
    return value.to(dtype=x.dtype, device=x.device).reshape(value.shape + (1,) * (x.ndim - value.ndim))


def without_autocast(function: Function) -> Function:
    """`function` with autocast switched off inside: autocast would compute its float32 matrix products in half precision."""

    @functools.wraps(function)
    def wrapped(*args: Any, **options: Any) -> Any:
        with ExitStack() as stack:
            for device in filter(torch.is_autocast_enabled, ("cpu", "cuda", "mps", "xpu")):
                stack.enter_context(torch.autocast(device, enabled=False))
            return function(*args, **options)

    return cast(Function, wrapped)


def flat(x: Tensor) -> Tensor:
    """The samples of `x` (B, ...) as rows (B, D), where D may be 1 and B may be 0."""
    return x.reshape(len(x), x.shape[1:].numel())


def require_same_shape(noise: Tensor, x: Tensor) -> Tensor:
    """`noise` itself. Raises: ValueError if it is not shaped as `x`: several samples would share one draw by broadcasting."""
    if noise.shape != x.shape:
        raise ValueError(f"noise must be shaped as the data, {tuple(x.shape)}; got {tuple(noise.shape)}")
    return noise


class Level(NamedTuple):
    """The pair (alpha, sigma) of one time, or of one time for each sample; float64, () or (B,)."""

    alpha: Tensor
    sigma: Tensor

    def like(self, x: Tensor) -> Level:
        """Both coefficients, cast and reshaped to broadcast with `x` (B, ...)."""
        return Level(expand(self.alpha, x), expand(self.sigma, x))

    def apply(self, x_0: Tensor, noise: Tensor) -> Tensor:
        """X_t = alpha_t X_0 + sigma_t Z, shaped as `x_0`. Paper: Eq. (3.2). Checked by: theory_checks/test_transition.py"""
        alpha, sigma = self.like(x_0)
        return alpha * x_0 + sigma * require_same_shape(noise, x_0)


class Transition(NamedTuple):
    """The pair (r, q) of X_t = r X_n + q Z', where Z' is independent of X_n; float64, () or (B,)."""

    ratio: Tensor  # r
    q: Tensor  # the standard deviation of the added noise

    def like(self, x: Tensor) -> Transition:
        """Both coefficients, cast and reshaped to broadcast with `x` (B, ...)."""
        return Transition(expand(self.ratio, x), expand(self.q, x))

    def apply(self, x_n: Tensor, noise: Tensor) -> Tensor:
        """X_t = r X_n + q Z', shaped as `x_n`. Paper: Eq. (3.4). Checked by: theory_checks/test_transition.py"""
        ratio, q = self.like(x_n)
        return ratio * x_n + q * require_same_shape(noise, x_n)


def transition(*, at_n: Level, at_t: Level) -> Transition:
    """The coefficients r and q of X_t given X_n, for t at least as noisy as n.

    X_t = r X_n + q Z',  r = alpha_t / alpha_n,  q^2 = sigma_t^2 - r^2 sigma_n^2.
    VE: r = 1, q^2 = sigma_t^2 - sigma_n^2. VP: r^2 = (1 - sigma_t^2) / (1 - sigma_n^2).
    A time that was rounded to float32 may be slightly below t_n. It counts as t_n (q = 0) while q^2 >= -1e-5 sigma_t^2.

    Raises: ValueError where t is less noisy than n; where n has no signal left (alpha_n = 0); and at t = n if t records
    gradients, because dq/dt is infinite there.
    Paper: Eq. (3.4), (A.24), (A.25). Checked by: theory_checks/test_transition.py
    """
    if torch.any(at_n.alpha == 0):
        raise ValueError("level n holds no signal (alpha_n = 0): nothing can be learned from pure noise")
    ratio = at_t.alpha / at_n.alpha
    scaled = ratio * at_n.sigma
    variance = (at_t.sigma - scaled) * (at_t.sigma + scaled)  # exactly 0 at t = n; the difference of the squares may not be
    if not bool((variance >= -Q_SQUARED_ROUNDING * at_t.sigma**2).all()):
        raise ValueError("t is less noisy than t_n, but noise can only be added: need t >= t_n (in a reverse step, s <= t)")
    variance = variance.clamp_min(0)
    if variance.requires_grad and bool((variance == 0).any()):
        raise ValueError("the gradient in t is infinite at t = t_n, where q = 0; detach t, or keep it above t_n")
    return Transition(ratio, variance.sqrt())


class Path(ABC):
    """A curve of levels. It maps times of any shape to alpha and sigma of that shape."""

    t_max: float

    @abstractmethod
    def level(self, t: Tensor) -> Level:
        """(alpha_t, sigma_t) at float64 times that `__call__` has checked."""

    @abstractmethod
    def t_from_log_snr(self, log_snr: Times) -> Tensor:
        """The time at which log(alpha_t^2 / sigma_t^2) equals `log_snr`; float64, shaped as the argument."""

    def __call__(self, t: Times) -> Level:
        """(alpha_t, sigma_t). Raises: ValueError for a time that is negative, not finite, or greater than t_max."""
        times = torch.as_tensor(t, dtype=torch.float64)  # in one step, so that a Python float is not rounded to float32 first
        if times.is_inference() and not torch.is_inference_mode_enabled():
            times = times.clone()  # autograd cannot save a tensor that was made in inference mode
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
        """The time at which sigma_t / alpha_t equals `noise_to_signal`; float64, shaped as the argument.

        It may be greater than t_max. Checked by: theory_checks/test_transition.py
        """
        return self.t_from_log_snr(-2 * torch.as_tensor(noise_to_signal, dtype=torch.float64).log())


class VarianceExploding(Path):
    """alpha_t = 1, sigma_t = t: the time is the standard deviation of the noise. Paper: Sec. 2."""

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
        beta_integral = torch.nn.functional.softplus(-torch.as_tensor(log_snr, dtype=torch.float64), threshold=40.0)
        return 2 * beta_integral / (self.beta_min + (self.beta_min**2 + 2 * self.slope * beta_integral).sqrt())


class RectifiedFlow(Path):
    """alpha_t = 1 - t, sigma_t = t, t in [0, 1]; at t = 1 no signal is left. Source: Liu et al. 2023 (not in the paper)."""

    t_max = 1.0

    def level(self, t: Tensor) -> Level:
        return Level(1 - t, t)

    def t_from_log_snr(self, log_snr: Times) -> Tensor:
        return torch.sigmoid(-torch.as_tensor(log_snr, dtype=torch.float64) / 2)


class Discrete(Path):
    """The integer times of a noise scheduler: alpha_t^2 = alphas_cumprod[t] for t = 1 .. N - 1, and clean data at t = 0.

    A scheduler's own index 0 is slightly noisy. It is not used, because t = 0 means clean data on every path.

    Args: alphas_cumprod: (N,), strictly decreasing, in [0, 1]; for diffusers, `scheduler.alphas_cumprod`.
    Raises: ValueError for another table, and for times that are not integers.
    Paper: Sec. 4.2 (SDXL: sigma = 0.325, 0.850, 0.981 at t = 100, 500, 800). Checked by: theory_checks/test_schedule.py
    """

    def __init__(self, alphas_cumprod: Tensor):
        table = torch.as_tensor(alphas_cumprod).to(torch.float64).cpu()
        if table.ndim != 1 or len(table) < 2 or not bool((table[1:] < table[:-1]).all()) or table[0] > 1 or table[-1] < 0:
            found = f"shape {tuple(table.shape)}, first values {table.flatten()[:3].tolist()}"
            raise ValueError(f"alphas_cumprod must be one strictly decreasing sequence within [0, 1]; got {found}")
        self.alphas_cumprod = torch.cat([torch.ones(1, dtype=torch.float64), table[1:]])
        self.t_max = float(len(table) - 1)

    @classmethod
    def scaled_linear(cls, first: float = SDXL_BETAS[0], last: float = SDXL_BETAS[1], count: int = SDXL_STEPS) -> Discrete:
        """The "scaled linear" schedule of diffusers, by default SDXL's. Checked by: theory_checks/test_schedule.py

        The roots of the betas are evenly spaced from first^(1/2) to last^(1/2), and alpha_t^2 is the product of 1 - beta up to t.
        """
        betas = torch.linspace(first**0.5, last**0.5, count, dtype=torch.float64) ** 2
        return cls((1 - betas).cumprod(0))

    def level(self, t: Tensor) -> Level:
        if not bool((t == t.round()).all()):
            raise ValueError(f"this path has only the integer times 0 .. {self.t_max:g}; got {t}")
        alpha_squared = self.alphas_cumprod.to(t.device)[t.long()]
        return Level(alpha_squared.sqrt(), (1 - alpha_squared).sqrt())

    def t_from_log_snr(self, log_snr: Times) -> Tensor:
        """The integer time whose log-SNR is nearest to `log_snr`; float64. Raises: ValueError for NaN."""
        wanted = torch.as_tensor(log_snr, dtype=torch.float64)
        if bool(wanted.isnan().any()):
            raise ValueError(f"a log-SNR must be a number; NaN stands in {int(wanted.isnan().sum())} of {wanted.numel()} places")
        noisy = self.alphas_cumprod[1:]
        grid = (noisy / (1 - noisy)).log().to(wanted.device)
        nearest = 1 + (wanted.unsqueeze(-1) - grid).abs().argmin(-1).to(torch.float64)
        return torch.where(wanted.isposinf(), 0.0, torch.where(wanted.isneginf(), self.t_max, nearest))
