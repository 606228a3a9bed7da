# %% [markdown]
# # 1. Noise only
#
# A diffusion model removes noise. This tutorial shows what the best way to remove it is, and how a network learns it. At the end
# you know Tweedie's formula, which computes the best estimate of a clean value from the slope of the noisy log-density. You also
# know why the usual training needs clean data.
#
# *Needed before:* PyTorch, and conditional expectations. *Running time:* about 10 seconds.

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch import nn

plt.style.use("tableau-colorblind10")
plt.rcParams.update({"figure.figsize": (7, 3), "figure.constrained_layout.use": True, "legend.frameon": False})

# %% [markdown]
# ## A density that one can draw
#
# The clean values $X_0$ are numbers. Their density $p_0$ has two bumps; its mean is 0 and its variance is 1. A noisy value is
# $X_t = X_0 + t Z$, where $Z$ is standard normal noise that is independent of $X_0$. So the **level** $t$ is the standard
# deviation of the noise, and $t = 0$ means no noise. (The paper writes $\sigma_t$ for this standard deviation; we choose
# $\sigma_t = t$.)
#
# The density of $X_t$ is $p_t(x) = \int p_0(x_0)\, N(x; x_0, t^2) dx_0$. In one dimension a sum over a fine grid can take the
# place of such an integral.

# %%
WEIGHTS, MEANS, STD = torch.tensor([0.6, 0.4]), torch.tensor([-0.8, 1.2]), 0.2
GRID = torch.linspace(-2.5, 3.0, 276, dtype=torch.float64)  # (G,), values of X_0; the density is negligible outside
STEP = (GRID[1] - GRID[0]).item()


def normal(x, mean, std):
    return torch.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


def draw(count, generator):
    """Clean values, (count,)."""
    bump = torch.multinomial(WEIGHTS, count, replacement=True, generator=generator)
    return MEANS[bump] + STD * torch.randn(count, generator=generator)


def clean_density(x):
    return (WEIGHTS * normal(x[..., None], MEANS, STD)).sum(-1)  # (..., 2) -> (...)


def noisy_density(x, t):
    return STEP * (clean_density(GRID) * normal(x[:, None], GRID, t)).sum(1)  # (B, G) -> (B,)


# %%
x = torch.linspace(-4, 4, 401, dtype=torch.float64)
x_0 = draw(100_000, torch.Generator().manual_seed(0))
figure, ax = plt.subplots()
ax.hist(x_0.numpy(), bins=120, density=True, color="0.85", label="100,000 draws of $X_0$")
ax.plot(x, clean_density(x), "C0", label="$p_0$")
for t, style in ((0.3, "--"), (0.5, "-."), (1.2, ":")):
    ax.plot(x, noisy_density(x, t), "C1", linestyle=style, label=f"$p_t$ for $t = {t}$")
ax.set(xlabel="x", ylabel="density")
ax.legend()
plt.show()
print(f"mean of the draws {x_0.mean():.3f}, variance {x_0.var():.3f}")

# %% [markdown]
# ## What a noisy value says about the clean one
#
# We see $X_t = x$. By Bayes' rule the density of $X_0$ is now proportional to $p_0(x_0) N(x; x_0, t^2)$. This is the
# **posterior**. Its mean is $E[X_0 \mid X_t = x]$. A softmax over the grid is Bayes' rule in one line.


# %%
def posterior(x, t, density=clean_density):
    """The probabilities of the clean values of GRID, given X_t = x: (B,) -> (B, G)."""
    return torch.softmax(density(GRID).log() - (x[:, None] - GRID) ** 2 / (2 * t**2), dim=1)


def posterior_mean(x, t, density=clean_density):
    return posterior(x, t, density) @ GRID  # (B, G) @ (G,) -> (B,)


t, seen = 0.5, torch.tensor([0.4])
figure, ax = plt.subplots()
ax.plot(GRID, clean_density(GRID), "C0--", label="$p_0$, before $X_t$ is seen")
ax.plot(GRID, posterior(seen, t)[0] / STEP, "C1", label="posterior, after $X_t = 0.4$ is seen")
ax.plot(seen, [0], "kv", label="$X_t$", clip_on=False)
ax.plot(posterior_mean(seen, t), [0], "C1o", label="$E[X_0 | X_t]$", clip_on=False)
ax.set(xlabel="$x_0$", ylabel="density", ylim=(0, 2), xlim=(-2, 2.5))
ax.legend(loc="upper center", ncols=2)
plt.show()

# %% [markdown]
# ## The arrow
#
# The **score** is the slope of the log-density, $\nabla \log p_t(x)$. It is computed from $p_t$ alone; no posterior is needed.
# From each $x$ we draw an arrow of length $t^2$ times the score. Each arrow ends at the posterior mean (the circles).


# %%
def score(x, t):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(noisy_density(x, t).log().sum(), x)[0]


starts = torch.linspace(-2.4, 2.8, 14, dtype=torch.float64)
ends, means = starts + t**2 * score(starts, t), posterior_mean(starts, t)
figure, ax = plt.subplots(figsize=(7, 3.6))
ax.fill_between(x, 40 * noisy_density(x, t), color="0.9", label="$p_t$ (scaled), $t = 0.5$")
height = torch.arange(1, 15)  # each arrow has a height of its own, so that arrows do not hide one another
ax.quiver(starts, height, ends - starts, 0 * height, angles="xy", scale_units="xy", scale=1, color="C0", width=0.005)
ax.plot(starts, height, "k.", label="$x$")
ax.plot(means, height, "o", color="C1", markersize=10, fillstyle="none", label="$E[X_0 | X_t = x]$")
ax.set(xlabel="x", xlim=(-3, 3.4), ylim=(0, None), yticks=[])
ax.legend(loc="upper left")
plt.show()
print(f"largest distance between the end of an arrow and the posterior mean: {(ends - means).abs().max():.1e}")
assert (ends - means).abs().max() < 1e-9

# %% [markdown]
# This is **Tweedie's formula**:
#
# $$x + t^2 \nabla \log p_t(x) = E[X_0 \mid X_t = x].$$
#
# The proof takes three lines. The normal density satisfies $\nabla_x N(x; x_0, t^2) = \frac{x_0 - x}{t^2} N(x; x_0, t^2)$. So
#
# $$\nabla p_t(x) = \int p_0(x_0) \frac{x_0 - x}{t^2} N(x; x_0, t^2) dx_0.$$
#
# Division by $p_t(x)$ turns $p_0(x_0) N(x; x_0, t^2)$ into the posterior, and the integral into
# $(E[X_0 \mid X_t = x] - x) / t^2$.
#
# Nothing in the proof says that $X_0$ is clean. Whenever *independent* normal noise of variance $t^2$ is added to *any* random
# variable, the formula gives the mean of this variable. Tutorial 2 uses this.
#
# ## The slope is a variance
#
# The posterior mean is a quotient, $\int x_0\, p_0(x_0) N(x; x_0, t^2) dx_0$ divided by $\int p_0(x_0) N(x; x_0, t^2) dx_0$. Each
# derivative puts the factor $(x_0 - x) / t^2$ under an integral. So the quotient rule gives, with all means given $X_t = x$,
#
# $$\frac{d}{dx} E[X_0 \mid X_t = x] = \frac{E[X_0 (X_0 - x)] - E[X_0]\, E[X_0 - x]}{t^2}
# = \frac{\mathrm{Var}(X_0 \mid X_t = x)}{t^2}.$$
#
# A variance is positive, so the posterior mean rises everywhere. Its slope tells how uncertain $X_0$ is. Tutorial 3 uses this.

# %%
values = torch.linspace(-2, 2, 9, dtype=torch.float64).requires_grad_()
mean = posterior_mean(values, t)
slope = torch.autograd.grad(mean.sum(), values)[0]
variance = (posterior(values, t) @ GRID**2 - mean**2).detach()
print(f"largest |slope t^2 - variance|: {(t**2 * slope - variance).abs().max():.1e}; smallest slope {slope.min():.2f}")
assert (t**2 * slope - variance).abs().max() < 1e-9
assert slope.min() > 0

# %% [markdown]
# ## The best denoiser
#
# A **denoiser** $h(x, t)$ estimates $X_0$ from $X_t = x$. Among all functions, the posterior mean has the smallest mean square
# error: given $X_t$, the cross term of $(h - X_0)^2 = (h - E[X_0|X_t] + E[X_0|X_t] - X_0)^2$ has mean 0, so
#
# $$E (h(X_t) - X_0)^2 = E (h(X_t) - E[X_0 \mid X_t])^2 + E (E[X_0 \mid X_t] - X_0)^2.$$
#
# The last term does not depend on $h$. It is the smallest possible error, the **MMSE** (minimum mean square error). We test this
# with pairs $(X_0, X_t)$: the average of $X_0$ over the pairs whose $X_t$ falls into a narrow bin should be the posterior mean
# there.

# %%
generator = torch.Generator().manual_seed(1)
x_0 = draw(50_000, generator)
x_t = x_0 + t * torch.randn(len(x_0), generator=generator)
exact = posterior_mean(x_t, t).float()

edges = torch.arange(-2.4, 2.9, 0.2)
bins = [(x_t > low) & (x_t < low + 0.2) for low in edges]
average = torch.stack([x_0[i].mean() for i in bins])
errors = torch.stack([(x_0 - exact)[i].mean() / (x_0 - exact)[i].std() * i.sum().sqrt() for i in bins])  # in standard errors

figure, ax = plt.subplots()
ax.plot(x_t[:2000], x_0[:2000], ".", color="0.75", markersize=2, label="2,000 of the pairs")
ax.plot(edges + 0.1, average, "C1o", markersize=6, label="average of $X_0$ in each bin of $X_t$")
ax.plot(x, posterior_mean(x, t), "C0", label="$E[X_0 | X_t = x]$")
ax.set(xlabel="$x_t$", ylabel="$x_0$", xlim=(-3, 3.4), ylim=(-2, 2.4))
ax.legend()
plt.show()
print(f"errors in standard errors: root mean square {errors.square().mean().sqrt():.2f}, largest {errors.abs().max():.2f}")
assert errors.abs().max() < 4

# %% [markdown]
# ## A network learns it
#
# The training of a diffusion model follows: draw $X_0$, a level $t$ and noise, and let a network minimise $(h(X_t, t) - X_0)^2$.
# Its minimiser is the posterior mean at every level.
#
# The network $F$ sees inputs of about unit size, and its output is scaled so that $h(x, t)$ is the best line plus a correction.
# The **best line** is the linear regression of $X_0$ on $X_t$. Its slope is their covariance 1 divided by the variance $1 + t^2$
# of $X_t$, and its mean square error is $t^2 / (1 + t^2)$. As $t$ tends to 0, $h(x, t)$ tends to $x$. (This form of $h$ is the
# preconditioning of the paper "EDM" by Karras et al. (2022), for data of variance 1.)


# %%
class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.F = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, x, t):  # (B,), (B,) -> (B,)
        std = (1 + t**2).sqrt()  # the standard deviation of X_t
        return x / std**2 + t / std * self.F(torch.stack([x / std, t.log() / 2], 1))[:, 0]


torch.manual_seed(0)
h, generator = Denoiser(), torch.Generator().manual_seed(2)
optimiser = torch.optim.Adam(h.parameters(), lr=1e-2)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=2000)
for _ in range(2000):
    x_0 = draw(512, generator)
    t = 0.1 * 50 ** torch.rand(512, generator=generator)  # from 0.1 to 5, uniform in ln t
    x_t = x_0 + t * torch.randn(512, generator=generator)
    loss = ((h(x_t, t) - x_0) ** 2 * (1 + t**2) / t**2).mean()  # divided by the error of the best line
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    schedule.step()


# %%
def relative_error(h, t, generator):
    """nE(t), the normalised error: the mean square distance of h to the posterior mean, divided by the MMSE; 0 is exact."""
    x_0 = draw(20_000, generator)
    x_t = x_0 + t * torch.randn(len(x_0), generator=generator)
    exact = posterior_mean(x_t, t)
    with torch.no_grad():
        distance = (h(x_t, torch.full_like(x_t, t)) - exact).square().mean()
    return (distance / (exact - x_0).square().mean()).item()


for t in (0.1, 0.3, 0.5, 1.2, 3.0):
    error, line = relative_error(h, t, generator), relative_error(lambda x, t: x / (1 + t**2), t, generator)
    print(f"t = {t}: nE = {error:.4f} of the network, {line:.3f} of the best line")
    assert error < 0.05

# %% [markdown]
# ## Why this needs clean data
#
# The loss contains $X_0$. Often nobody has $X_0$: a medical scanner or a telescope gives $X_n = X_0 + t_n Z$, with a known level
# $t_n$, and nothing else. What if we take $X_n$ for clean, add more noise and train as before? Then the network learns
# $E[X_n \mid X_t]$. We compare it with the wanted curve, again by averages over narrow bins.

# %%
generator, t_n, t = torch.Generator().manual_seed(3), 0.5, 0.8
x_n = draw(200_000, generator) + t_n * torch.randn(200_000, generator=generator)  # the data; X_0 is lost
x_t = x_n + math.sqrt(t**2 - t_n**2) * torch.randn(len(x_n), generator=generator)  # variances of independent noise add up
for value in (-2.0, 2.0):
    near, wanted = x_n[(x_t - value).abs() < 0.1], posterior_mean(torch.tensor([value]), t).item()
    print(f"X_t near {value:4}: average of X_n {near.mean():6.3f} +- {near.std() / len(near) ** 0.5:.3f}, wanted {wanted:6.3f}")
    assert abs(near.mean() - wanted) > 20 * near.std() / len(near) ** 0.5

# %% [markdown]
# Each average lies between $x$ and the wanted value. Tutorial 2 finds where; with this knowledge, a network that sees only noisy
# data learns the wanted curve.
#
# ## Exercises
#
# **1.** Let $X_0$ be standard normal. Find $p_t$, the score and $E[X_0 \mid X_t = x]$ by hand.

# %% [markdown]
# <details><summary>Answer</summary>
#
# $X_t$ is normal with variance $1 + t^2$, so the score is $-x / (1 + t^2)$. Tweedie's formula gives
# $E[X_0 \mid X_t = x] = x - t^2 x / (1 + t^2) = x / (1 + t^2)$.
#
# ```python
# values = torch.linspace(-0.5, 0.5, 5, dtype=torch.float64)
# assert (posterior_mean(values, 0.3, lambda x: normal(x, 0, 1)) - values / (1 + 0.3**2)).abs().max() < 1e-6
# ```
#
# </details>

# %% [markdown]
# **2.** Write $\mathrm{Var}(X_0 \mid X_t = x)$ through $p_t$ alone, with the second derivative of $\log p_t$. How strongly can
# $\log p_t$ bend downwards? Where is the posterior variance larger than $t^2$?

# %% [markdown]
# <details><summary>Answer</summary>
#
# Differentiate Tweedie's formula: the variance is $t^2 (1 + t^2 (\log p_t)'')$. It is positive, so $(\log p_t)'' > -1 / t^2$. It
# is larger than $t^2$ where $\log p_t$ bends upwards, as in the valley between the bumps.
#
# ```python
# values = torch.linspace(-2, 2, 9, dtype=torch.float64)
# bend = (score(values + 1e-3, t=0.5) - score(values - 1e-3, t=0.5)) / 2e-3  # the second derivative of log p_t
# variance = posterior(values, 0.5) @ GRID**2 - posterior_mean(values, 0.5) ** 2
# assert (variance - 0.5**2 * (1 + 0.5**2 * bend)).abs().max() < 1e-5
# assert bend.min() > -1 / 0.5**2
# assert bend[4] > 0  # at x = 0, in the valley
# assert variance[4] > 0.5**2
# ```
#
# </details>

# %% [markdown]
# **3.** A colleague trains with $|h(X_t, t) - X_0|$ in place of the square. What does the network learn? Does Tweedie's formula
# then give the score?

# %% [markdown]
# <details><summary>Answer</summary>
#
# It learns the posterior median: the slope of $E|h - X_0|$ in $h$ is $P(X_0 < h) - P(X_0 > h)$, which is 0 there. Between the
# bumps the median is far from the mean, so $(h - x) / t^2$ is not the score.
#
# ```python
# value = torch.tensor([0.4], dtype=torch.float64)
# weights = posterior(value, 0.5)[0]
# best = GRID[((GRID[:, None] - GRID).abs() @ weights).argmin()]  # the smallest mean absolute error
# median = GRID[(weights.cumsum(0) >= 0.5).nonzero()[0]].item()
# assert abs(best - median) < 2 * STEP
# assert abs(best - posterior_mean(value, 0.5).item()) > 0.1
# assert abs((best - value) / 0.5**2 - score(value, 0.5)).item() > 0.3
# ```
#
# </details>

# %% [markdown]
# ## Next
#
# Tutorial 2, *Tweedie twice*, trains on noisy data alone. In this repository, the formula and its forms for other noise schedules
# are in `ambient/tweedie.py`, and the test of the formula is `theory_checks/test_tweedie.py`.
