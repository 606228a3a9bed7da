"""The mathematics of learning the distribution of clean data from noisy data alone.

    from ambient import losses, kernels, VariancePreserving

`CONTENTS` lists the modules in reading order, and the public functions and classes of each (constants and type aliases are left
out). All modules and all classes are attributes of the package. A module is imported when it is first used, so importing the
package takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

CONTENTS: dict[str, tuple[str, ...]] = {
    # X_t = alpha_t X_0 + sigma_t Z, and how X_t follows from X_n
    "paths": (
        "Level", "Transition", "transition", "Path", "VarianceExploding", "VariancePreserving", "RectifiedFlow", "Discrete",
        "expand", "flat", "require_same_shape", "without_autocast",
    ),
    # conversions between the score, E[X_0 | X_t], E[X_n | X_t] and the predictions of networks; Jacobians
    "tweedie": (
        "score_from_x_0", "x_0_from_score", "x_n_from_x_0", "x_0_from_x_n", "x_0_from_eps", "eps_from_x_0", "x_0_from_v",
        "v_from_x_0", "x_0_from_flow", "flow_from_x_0", "posterior_covariance_from_jacobian", "vector_jacobian", "jacobian",
        "require_signal",
    ),
    # h(x_t, t, condition), an estimate of E[X_0 | X_t]
    "denoisers": ("Denoiser", "NetworkDenoiser", "Preconditioned", "GradientField", "scalar_skip", "gaussian_mmse"),
    # one step of the reverse process
    "kernels": ("Step", "Kernel", "ancestral", "euler_maruyama", "matched", "matched_trace", "ddim"),
    # losses of h for clean data, for noisy data, and for consistency
    "losses": (
        "denoising", "ambient", "antithetic_ambient", "consistency", "martingale", "sure", "noisier2noise", "min_snr_weight",
        "squared_norm", "repeat",
    ),
    # all steps of the reverse process
    "samplers": ("State", "log_snr_grid", "reverse_process", "sample", "sample_x_0"),
    # distributions whose exact h is known
    "worlds": ("World", "GaussianMixture", "Empirical"),
    "subspace": ("SubspaceMixture",),
    # the fit of a subspace mixture to noisy points
    "noisy_mixture": ("fit",),
    # noise as a function of (seed, stream, step)
    "randomness": ("generator", "fixed_noise"),
}  # fmt: skip
MODULE_OF = {name: module for module, names in CONTENTS.items() for name in names if name[0].isupper()}


def __getattr__(name: str) -> Any:
    if name in CONTENTS:
        return import_module(f"ambient.{name}")
    if name in MODULE_OF:
        return getattr(import_module(f"ambient.{MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'ambient' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *CONTENTS, *MODULE_OF})
