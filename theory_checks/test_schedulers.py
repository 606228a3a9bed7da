"""(2.3): the kernels against the schedulers of diffusers, on the discrete path that these define."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ambient import kernels
from ambient.kernels import Kernel
from ambient.paths import Discrete
from theory_checks.quadrature import EPS
from theory_checks.scorecard import Statement
from theory_checks.test_reverse_sde import half_the_noise

SCHEDULERS = Statement("(2.3), diffusers", "DDIM and ancestral steps equal those of DDIMScheduler and DDPMScheduler, in float64")


def scheduler_discrepancy(kernel: Kernel, name: str, num_steps: int, index: int, predicted: str) -> tuple[float, float]:
    """One step with the same prediction and the same noise: ten operations on numbers below |x| / alpha_t, 100 eps of that."""
    diffusers = pytest.importorskip("diffusers")
    options = {"DDIMScheduler": {"set_alpha_to_one": False}, "DDPMScheduler": {"variance_type": "fixed_small"}}[name]
    scheduler = getattr(diffusers, name)(
        num_train_timesteps=1000, clip_sample=False, timestep_spacing="trailing", prediction_type=predicted, **options
    )
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.set_timesteps(num_steps)
    path = Discrete(scheduler.alphas_cumprod)
    t = int(scheduler.timesteps[index])
    s = t - 1000 // num_steps
    x, output = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(index))
    theirs = scheduler.step(output, t, x, generator=torch.Generator().manual_seed(7)).prev_sample
    noise = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    alpha, sigma = path(t)
    x_0_hat = {"epsilon": (x - sigma * output) / alpha, "v_prediction": alpha * x - sigma * output, "sample": output}[predicted]
    ours = kernel(lambda x, t, condition=None: x_0_hat, x, path=path, t=t, s=s).draw(noise)
    return float((ours - theirs).abs().max()), float(100 * EPS * (1 + x.abs().max() + output.abs().max()) / alpha)


@given(st.sampled_from((10, 25, 50, 100)), st.data(), st.sampled_from(("epsilon", "v_prediction", "sample")), st.booleans())
def test_diffusers_schedulers(num_steps, data, predicted, deterministic):
    index = data.draw(st.integers(0, num_steps - 3))
    kernel, name = (kernels.ddim, "DDIMScheduler") if deterministic else (kernels.ancestral, "DDPMScheduler")
    SCHEDULERS.holds(*scheduler_discrepancy(kernel, name, num_steps, index, predicted))


SCHEDULER_MUTANTS: dict[str, tuple[Kernel, str]] = {
    "Euler-Maruyama as DDPM": (kernels.euler_maruyama, "DDPMScheduler"),
    "DDIM as DDPM": (kernels.ddim, "DDPMScheduler"),
    "ancestral as DDIM": (kernels.ancestral, "DDIMScheduler"),
    "half the noise": (half_the_noise, "DDPMScheduler"),
}


@pytest.mark.parametrize("mutant", SCHEDULER_MUTANTS)
def test_scheduler_mutants(mutant):
    SCHEDULERS.rejects(mutant, *scheduler_discrepancy(*SCHEDULER_MUTANTS[mutant], 25, 10, "epsilon"))
