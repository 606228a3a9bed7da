"""Learn a clean distribution from noisy points alone: the method of *Consistent Diffusion Meets Tweedie* on one page.

    python examples/ambient_in_100_lines.py [picture.png] [seed]

The clean points X_0 are unknown. The data are X_n = X_0 + t_n Z, with Z standard normal and a known noise level t_n. A sampler
needs the denoiser h(x, t) = E[X_0 | X_t = x] for X_t = X_0 + t Z at every level t. Two losses teach it to a network:
  - Ambient loss, for t >= t_n: it adds noise to X_n and estimates the risk E||h - X_0||^2 from noisy data alone, by a form of
    the paper's loss (Tweedie's formula, used twice) that also works at t = t_n.
  - Consistency loss, for t <= t_n: if a step of the sampler leads from X_t to X_s, the mean of h(X_s, s) must be h(X_t, t).
"""

import sys

import matplotlib.pyplot as plt
import torch
from torch import nn

from ambient import denoisers, kernels, losses, paths, samplers, worlds

PATH = paths.VarianceExploding()  # X_t = X_0 + t Z: a level t is the standard deviation of the noise
T_N, T_MAX = 0.6, 10.0  # the level of the data, a third of the distance between two modes; the level where sampling starts


class MLP(nn.Module):
    """The network inside the denoiser. `c_noise` is ln(t / data_std), with data_std as in `train`."""

    def __init__(self):
        super().__init__()
        hidden = [layer for _ in range(3) for layer in (nn.Linear(64, 64), nn.SiLU())]
        self.layers = nn.Sequential(nn.Linear(10, 64), nn.SiLU(), *hidden, nn.Linear(64, 2))

    def forward(self, x, c_noise, condition=None):
        angles = c_noise[:, None] * torch.tensor([0.3, 1.0, 1.8, 2.5])  # (B,) -> (B, 4)
        return self.layers(torch.cat([x, angles.sin(), angles.cos()], dim=1))  # (B, 2 + 4 + 4) -> (B, 2)


def ambient_loss(h, x_n, data_std):
    """Teaches h(x, t) for t >= t_n. The noise is used with both signs, so the variance stays bounded as t approaches t_n."""
    added = T_N * 0.02 * (50 * T_MAX / T_N) ** torch.rand(len(x_n), dtype=torch.float64)  # (B,), log-uniform, up to T_MAX
    t = (T_N**2 + added**2).sqrt()  # variances of independent noise add up
    loss = losses.antithetic_ambient(h, x_n, torch.randn(x_n.shape), path=PATH, t_n=T_N, t=t)  # (B, 2) -> (B,)
    return (loss / denoisers.gaussian_mmse(PATH(t), data_std)).mean()  # all levels have about the same weight


def consistency_loss(h, x_n, data_std):
    """Teaches h(x, t) for t <= t_n. Most pairs (t, s) start close to t_n, because errors there are passed on to lower levels."""
    depth, step = torch.rand(2, len(x_n), dtype=torch.float64)  # (B,) each
    t = T_N * torch.exp(-3.5 * depth**8)  # down to 0.03 t_n; two in three lie within 10 % of t_n
    s = t * torch.exp(-0.1 - 0.9 * step)  # a step of 0.1 to 1 in the logarithm of the noise level
    with torch.no_grad():
        x_t = kernels.ddim(h, x_n, path=PATH, t=T_N, s=t).mean  # the denoiser moves the data from level t_n down to level t
    noise = torch.randn(2, *x_t.shape)  # (2, B, 2): two independent draws of X_s estimate the square of a mean without bias
    loss = losses.consistency(h, x_t, noise, path=PATH, t=t, s=s, kernel=kernels.matched, antithetic=True)  # (B,)
    return (loss / denoisers.gaussian_mmse(PATH(t), data_std)).mean()


def train(x_n, steps=6000):
    """A denoiser that is trained with both losses on the noisy points (N, 2) and on nothing else."""
    data_std = (x_n.var(0).mean() - T_N**2).sqrt().item()  # the standard deviation of X_0; the noise has variance t_n^2
    h = denoisers.Preconditioned(MLP(), PATH, data_std=data_std)  # then h(x, 0) = x, which the theory requires
    optimiser = torch.optim.Adam(h.parameters(), lr=5e-3, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        batch = x_n[torch.randint(len(x_n), (256,))]  # (256, 2)
        loss = ambient_loss(h, batch, data_std) + consistency_loss(h, batch[:64], data_std)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return h.requires_grad_(False)


def distance(x, y):
    """The sliced Wasserstein-2 distance between two sets of equally many points, by 200 random projections."""
    directions = nn.functional.normalize(torch.randn(2, 200), dim=0)
    return ((x @ directions).sort(0).values - (y @ directions).sort(0).values).square().mean().sqrt().item()


def main(picture="ambient_in_100_lines.png", seed=0, steps=6000, count=20_000):
    torch.manual_seed(int(seed))
    modes = 1.5 * torch.view_as_real(torch.exp(2j * torch.pi * torch.arange(5) / 5))  # (5, 2), the fifth roots of 1 as points
    world = worlds.GaussianMixture(torch.full((5,), 0.2), modes, 0.04 * torch.eye(2).expand(5, 2, 2))
    x_n = world.sample(100_000, torch.default_generator) + T_N * torch.randn(100_000, 2)  # the clean points are not kept
    h = train(x_n, steps)
    times, start = samplers.log_snr_grid(PATH, start=T_MAX, stop=0.0, steps=100, last=0.01), T_MAX * torch.randn(count, 2)
    generated = samplers.sample(h, start, times, path=PATH, kernel=kernels.euler_maruyama, noise=lambda _: torch.randn(count, 2))
    early_stop = h(x_n[:count], T_N)  # the baseline denoises once, at the level of the data; E[X_0 | X_n] varies less than X_0
    truth = world.sample(count, torch.default_generator)  # fresh points, for the comparison alone
    ours, baseline = distance(generated, truth), distance(early_stop, truth)
    print(f"sliced Wasserstein-2 distance to the truth: {ours:.3f} generated, {baseline:.3f} early stop")
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
    for ax, points, title in zip(axes, (x_n[:count], generated, truth), ("noisy data", "generated", "truth"), strict=True):
        ax.hist2d(*points.T.numpy(), bins=90, range=[[-3, 3]] * 2, cmap="Blues")
        ax.set(title=title, aspect="equal", xticks=[], yticks=[])
    figure.savefig(picture)
    return ours, baseline


if __name__ == "__main__":
    main(*sys.argv[1:])
