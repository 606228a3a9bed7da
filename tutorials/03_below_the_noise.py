# %% [markdown]
# # 3. Below the noise
#
# The ambient loss says nothing about levels below that of the data. This tutorial shows the second idea of the paper,
# consistency, which carries the denoiser there. At the end you know why the loss needs two draws, and what "exact" means.
#
# *Needed before:* tutorials 1 and 2. *Running time:* about 15 seconds.

# %%
import copy
import math
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from torch import nn

plt.style.use("tableau-colorblind10")
plt.rcParams.update({"figure.figsize": (7, 3), "figure.constrained_layout.use": True, "legend.frameon": False})

T_N = 0.5  # the level of the data; the clean density is that of tutorials 1 and 2
WEIGHTS, MEANS, STD = torch.tensor([0.6, 0.4]), torch.tensor([-0.8, 1.2]), 0.2
GRID = torch.linspace(-2.5, 3.0, 276)  # (G,), values of X_0
LOG_P_0 = (WEIGHTS * torch.exp(-(((GRID[:, None] - MEANS) / STD) ** 2) / 2)).sum(1).log()  # (G,), up to a constant


def draw(count, generator):
    bump = torch.multinomial(WEIGHTS, count, replacement=True, generator=generator)
    return MEANS[bump] + STD * torch.randn(count, generator=generator)


def exact(x, t, log_density=LOG_P_0):  # E[X_0 | X_t = x], (...), (...) -> (...)
    return torch.softmax(log_density - (x[..., None] - GRID) ** 2 / (2 * t[..., None] ** 2), dim=-1) @ GRID


# %% [markdown]
# ## Nothing constrains the network there
#
# We train two networks with the antithetic ambient loss of tutorial 2, on the same noisy batches and from the same first
# weights. Their inputs differ: sines and cosines of $\ln t$ with low or with high frequencies.


# %%
class Denoiser(nn.Module):
    def __init__(self, frequencies):
        super().__init__()
        self.frequencies = torch.tensor(frequencies)  # two of them
        self.F = nn.Sequential(nn.Linear(5, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, x, t):  # (...), (...) -> (...); tends to x as t -> 0
        std, angles = (1 + t**2).sqrt(), t.log()[..., None] * self.frequencies  # (...), (..., 2)
        features = torch.cat([(x / std)[..., None], angles.sin(), angles.cos()], -1)  # (..., 5)
        return x / std**2 + t / std * self.F(features)[..., 0]


def ambient_loss(h, x_n, generator):
    """An unbiased estimate of E (h - X_0)^2 from noisy data, one number per sample; all levels have about the same weight."""
    q = 0.02 * T_N * 500 ** torch.rand(len(x_n), generator=generator)  # (B,), up to 10 t_n
    t, noise = (T_N**2 + q**2).sqrt(), torch.randn(len(x_n), generator=generator)
    plus, minus = h(x_n + q * noise, t), h(x_n - q * noise, t)
    loss = ((plus - x_n) ** 2 + (minus - x_n) ** 2) / 2 + T_N**2 / q * noise * (plus - minus) - T_N**2
    return loss * (1 + t**2) / t**2


# %%
generator = torch.Generator().manual_seed(0)
DATA, HELD_OUT = (draw(count, generator) + T_N * torch.randn(count, generator=generator) for count in (200_000, 100_000))


def train(h, loss_of, steps, rate):
    """Train h on noisy batches of DATA."""
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(h.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in range(steps):
        loss = loss_of(h, DATA[torch.randint(len(DATA), (256,), generator=generator)], generator).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return h


torch.manual_seed(0)
low, high = Denoiser([1.0, 2.0]), Denoiser([2.0, 4.0])
high.load_state_dict(low.state_dict())  # the same first weights
low, high = (train(h, ambient_loss, steps=1000, rate=1e-2) for h in (low, high))


# %%
def relative_error(h, ratio):
    """nE at the level t = ratio t_n: the mean square distance of h to the exact denoiser, divided by the MMSE."""
    generator, t = torch.Generator().manual_seed(2), torch.full((10_000,), ratio * T_N)
    x_0 = draw(len(t), generator)
    x_t = x_0 + t * torch.randn(len(t), generator=generator)
    best = exact(x_t, t)
    with torch.no_grad():
        return ((h(x_t, t) - best).square().mean() / (best - x_0).square().mean()).item()


losses = [ambient_loss(h, HELD_OUT, torch.Generator().manual_seed(3)).detach() for h in (low, high)]
gap, error = (losses[0] - losses[1]).mean(), (losses[0] - losses[1]).std() / len(HELD_OUT) ** 0.5
print(f"held-out ambient loss {losses[0].mean():.3f}, difference of the two networks {gap:.4f} +- {error:.4f}")
assert abs(gap) < 4 * error
for h, name in ((low, "low frequencies"), (high, "high frequencies")):
    print(f"{name}: nE = {relative_error(h, 1.5):.4f} at 1.5 t_n, {relative_error(h, 0.4):.2f} at 0.4 t_n")
    assert relative_error(h, 1.5) < 0.02
assert 0.1 < relative_error(low, 0.4) < 0.7 * relative_error(high, 0.4)

# %% [markdown]
# The two losses cannot be told apart, and above $t_n$ both networks are good. Below $t_n$ they differ, and both are wrong: there
# the values come from the form of the network and not from the data.
#
# ## The reverse process
#
# For $s < t$, $X_t$ is $X_s$ plus more noise: $X_t = X_s + \sqrt{t^2 - s^2}\, Z'$ with new noise $Z'$, independent of $X_0$ and
# $X_s$. The **reverse process** draws $X_s$ given $X_t$. If $X_0$ were known, then $X_s$ given $X_t$ would be normal (a product
# of two normal densities) with mean $X_0 + \frac{s^2}{t^2} (X_t - X_0)$ and variance $s^2 (t^2 - s^2) / t^2$. But $X_0$ is known
# only through its posterior, with mean $h(X_t, t)$ and variance $t^2 \partial h / \partial x$ (tutorial 1). So the mean and the
# variance of $X_s$ given $X_t$ follow from $h$. We draw $X_s$ from the normal distribution that has them, which is accurate for
# small steps; we measure below what large steps cost. (The paper's theorem assumes exact steps.)


# %%
def reverse_step(h, x_t, t, s):
    """h(x_t, t), and the mean and the standard deviation of X_s given X_t = x_t according to h; all (B,)."""
    x_t = x_t.detach().requires_grad_()
    h_t = h(x_t, t)
    slope = torch.autograd.grad(h_t.sum(), x_t, retain_graph=True)[0].clamp(min=0)
    variance = s**2 * (t**2 - s**2) / t**2 + (1 - s**2 / t**2) ** 2 * t**2 * slope
    return h_t, h_t + s**2 / t**2 * (x_t - h_t), variance.sqrt()


LEVELS = T_N * 10 ** -torch.linspace(0, 1, 31)  # from t_n to t_n / 10


def watch(h, x_s, generator):
    """The values of X_s and h(X_s, s) along paths that start at X_{t_n} = x_s, (count,); both (levels, count)."""
    xs, hs = [x_s], [h(x_s, torch.full_like(x_s, T_N)).detach()]
    for t, s in pairwise(LEVELS):
        _, mean, std = reverse_step(h, x_s, t.expand_as(x_s), s)
        x_s = (mean + std * torch.randn(len(x_s), generator=generator)).detach()
        xs, hs = [*xs, x_s], [*hs, h(x_s, s.expand_as(x_s)).detach()]
    return torch.stack(xs), torch.stack(hs)


# %%
xs, hs = watch(exact, torch.zeros(4000), torch.Generator().manual_seed(4))
mean, error = hs.mean(1), hs.std(1) / hs.shape[1] ** 0.5  # (levels,)
figure, axes = plt.subplots(1, 2, sharey=True)
for ax, values, name in zip(axes, (xs, hs), ("$X_s$", "$h(X_s, s)$"), strict=True):
    ax.plot(LEVELS / T_N, values[:, :25], color="0.75", linewidth=0.8)
    ax.plot(LEVELS / T_N, values.mean(1), "C1", linewidth=3, label="mean of 4,000 paths")
    ax.set(xlabel="$s / t_n$", title=name, xlim=(1, 0.1), ylim=(-1.6, 1.6))
axes[1].axhline(mean[0], color="k", linestyle=":", label="$h(X_t, t)$ at the start")
axes[1].legend(loc="lower left")
plt.show()
z = (mean - mean[0])[1:] / error[1:]
print(f"h at the start {mean[0]:.3f}, mean at t_n / 10 {mean[-1]:.3f} +- {error[-1]:.3f}, largest error {z.abs().max():.1f}")
assert z.abs().max() < 4

# %% [markdown]
# Each path ends in one of the bumps. The mean of $X_s$ moves, but the mean of $h(X_s, s)$ stays where it was: $E[h(X_s, s) \mid
# X_t] = h(X_t, t)$. Such a sequence is a **martingale**. The exact $h$ is a conditional mean, and $X_t$ is $X_s$ plus
# independent noise, so the tower property gives
#
# $$E[h(X_s, s) \mid X_t] = E[E[X_0 \mid X_s] \mid X_t] = E[X_0 \mid X_t] = h(X_t, t).$$
#
# ## Consistency as a loss
#
# A denoiser with this property along its own reverse process is called **consistent**. The loss is the square of the violation,
# $(E[r \mid x_t])^2$ with the residual $r = h(X_s, s) - h(x_t, t)$. It needs no data below $t_n$, because $h$ itself makes
# $X_s$. But the mean inside the square must be estimated from draws. The square of a single residual has the mean $E[r^2] =
# (E[r])^2 + \mathrm{Var}(r)$. The product of two independent residuals has the right mean, $E[r_1 r_2] = (E[r])^2$.


# %%
def residuals(h, x_t, t, s, shape, generator, signs=(1,)):
    """Draws of h(X_s, s) - h(x_t, t), of the given shape, for one x_t; with signs=(1, -1), means over +Z and -Z."""
    h_t, mean, std = reverse_step(h, torch.tensor([x_t]), torch.tensor([t]), torch.tensor([s]))
    noise = std * torch.randn(math.prod(shape), generator=generator)
    with torch.no_grad():
        return (sum(h(mean + sign * noise, torch.full_like(noise, s)) for sign in signs) / len(signs) - h_t).reshape(shape)


r_1, r_2 = residuals(low, 0.8, 0.5, 0.3, (2, 200_000), torch.Generator().manual_seed(5))
naive, product = r_1**2, r_1 * r_2
bias, error = (naive - product).mean(), (naive - product).std() / len(r_1) ** 0.5
print(f"means: square of a residual {naive.mean():.4f}, product of two {product.mean():.4f}; variance {r_1.var():.4f}")
assert abs(bias - r_1.var()) < 4 * error
assert bias > 10 * product.mean()

# %% [markdown]
# Here the bias is many times as large as the quantity itself. Training with the naive square lowers the variance: $h$ becomes
# flatter than the exact one (exercise 3). The flattest $h$ is a constant $c$. It is even consistent, as the exact denoiser of
# data that are all equal to $c$, but it is wrong at $t_n$.
#
# ## Both signs of the noise
#
# The product has the right mean, but its variance is large because the residuals vary. For a small step, $h(X_s, s)$ changes
# almost linearly with the noise, so the mean over $+Z$ and $-Z$ cancels most of it. Let $e = 1 - s / t$ be the share of the
# noise that the step removes. The variance of $X_s$ is of order $e$, and so is that of a plain residual. That of the antithetic
# mean is of order $e^2$.

# %%
for signs, name in (((1,), "one sign"), ((1, -1), "both signs")):
    small, large = (residuals(exact, 0.3, 0.4, 0.4 * (1 - e), (50_000,), generator, signs).var() for e in (0.001, 0.004))
    order = (large / small).log2() / 2  # of the variance in e, because e grows fourfold
    print(f"{name}: variance {small:.1e} for e = 0.001 and {large:.1e} for e = 0.004, so the order is {order:.2f}")
    assert abs(order - len(signs)) < 0.1

# %% [markdown]
# ## Training with it
#
# Now we train the first network further, once with both losses, and once with the ambient loss alone for comparison. Each
# consistency term starts from a data point, which the denoiser moves from $t_n$ to a lower level $t$ without new noise. The
# property must hold at every point, so these points only have to reach the region where $X_t$ lies. Most levels are drawn close
# to $t_n$, because errors there are carried down.


# %%
def own_step(h, x_n, generator):
    """Levels t and s below t_n, h(x_t, t), and the mean and the standard deviation of X_s given x_t; all (B,)."""
    depth, size = torch.rand(2, len(x_n), generator=generator)
    t = T_N * torch.exp(-3.5 * depth**8)  # down to 0.03 t_n
    s = t * (0.9 - 0.5 * size)  # the step lowers the level by 10 to 60 %
    h_n = h(x_n, torch.full_like(x_n, T_N))
    return t, s, *reverse_step(h, h_n + t / T_N * (x_n - h_n), t, s)


def consistency_loss(h, x_n, generator):
    t, s, h_t, mean, std = own_step(h, x_n, generator)
    noise = std * torch.randn(2, len(x_n), generator=generator)  # (2, B), two draws; gradients flow through the mean alone
    r = (h(mean + noise, s.expand(2, -1)) + h(mean - noise, s.expand(2, -1))) / 2 - h_t  # (2, B)
    return r[0] * r[1] * (1 + t**2) / t**2


def both_losses(h, x_n, generator):  # half of the batch is enough for consistency
    return ambient_loss(h, x_n, generator).mean() + consistency_loss(h, x_n[:128], generator).mean()


ours, control = (train(copy.deepcopy(low), loss_of, steps=800, rate=5e-3) for loss_of in (both_losses, ambient_loss))

# %%
ratios = [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0]
figure, ax = plt.subplots()
below = []
for h, style, name in ((low, "k:", "before"), (control, "C0o-", "ambient loss alone"), (ours, "C1s--", "both losses")):
    errors = [relative_error(h, ratio) for ratio in ratios]
    ax.loglog(ratios, errors, style, markersize=4, label=name)
    below.append(sum(errors[:7]) / 7)
    print(f"{name}: mean nE from 0.1 to 0.85 t_n {below[-1]:.3f}")
ax.axvspan(0.08, 1, color="0.9")
ax.set(xlabel="$t / t_n$", ylabel="nE(t)", xlim=(0.08, 4), title="distance to the exact denoiser")
ax.legend()
plt.show()
assert below[2] < 0.5 * below[1]
losses = [torch.cat([consistency_loss(h, x_n, generator).detach() for x_n in HELD_OUT.split(10_000)]) for h in (exact, low)]
(value, before), (error, _) = zip(*((loss.mean(), loss.std() / len(loss) ** 0.5) for loss in losses), strict=True)
print(f"consistency loss: {before:.4f} before; {value:.4f} +- {error:.4f} for the exact denoiser")
assert abs(value) + 4 * error < 0.1 * before  # less than a tenth
hs = watch(ours, HELD_OUT[:8000], generator)[1]  # (levels, 8000), from t_n to t_n / 10
print(f"variance of the samples: {hs[0].var():.3f} with early stop, {hs[-1].var():.3f} with the reverse process, 1 is right")
assert abs(hs[-1].var() - 1) < 0.5 * abs(hs[0].var() - 1)

# %% [markdown]
# Below $t_n$, the two losses bring the network closer to the exact denoiser than the ambient loss. The steps of the training are
# not small, so the exact denoiser itself may violate the loss, but its loss is less than a tenth of that of the network before.
# The last line compares samples. The outputs $h(X_n, t_n)$ of early stop (tutorial 2) vary too little; the reverse process down
# to $t_n / 10$ draws what is missing.
#
# ## What the theorem says
#
# Consistency alone does not determine $h$ (exercise 1). Theorem 3.4 of the paper says that consistency below $t_n$, the right
# values at $t_n$, and $h(x, t) \to x$ as $t \to 0$ together do. (In more than one dimension, $h - x$ must also be a gradient.)
# We do not prove it. The idea is this. Let $v = t^2$ and $a = (h - x) / v$. By Ito's formula, consistency is the equation
# $\partial_v a = \frac12 a'' + a a'$. Write $a$ as the slope of $\log p$. Then $p$, times a factor that depends on $v$ alone,
# satisfies the heat equation $\partial_v p = \frac12 p''$, which describes what normal noise does to a density. So $p$ is *some*
# density with noise of variance $v$, and by Tweedie's formula $h$ is its exact denoiser. If $h$ is right at $t_n$, then $p$ is
# $p_{t_n}$ there, and different densities stay different when normal noise is added. The equation is tested in
# `theory_checks/test_own_process.py`, and the theorem in `theory_checks/test_main_theorem.py`.
#
# ## The wall
#
# How different are the noisy densities? The mean of $\cos(k (x + t_n Z))$ over $Z$ is $\cos(k x) \exp(-k^2 t_n^2 / 2)$. So noise
# multiplies the height of a wave by $\exp(-2 \pi^2 (t_n / \text{wavelength})^2)$. This factor is never 0, so different densities
# stay different, but it soon becomes tiny. We take two clean densities, a bell curve and the same curve with a wave on it. Each
# is the truth with probability one half. How well can *any* method tell which, from $N$ noisy samples? It is right with
# probability at most $\frac12 + \frac12 TV$, where $TV$ is the total variation distance between the two distributions of all $N$
# samples. Pinsker's inequality says $TV \le \sqrt{N KL / 2}$, where $KL$ is the Kullback-Leibler divergence for one sample.

# %%
u = torch.linspace(-10, 10, 1001, dtype=torch.float64)
add_noise = torch.softmax(-((u[:, None] - u) ** 2) / (2 * T_N**2), dim=1)  # (1001, 1001), each row sums to 1


def pair(ratio):
    """A bell curve, and the same with a wave of the wavelength ratio t_n."""
    bell = torch.exp(-(u**2) / 4)
    wave = bell * (1 + 0.9 * torch.cos(2 * math.pi * u / ratio / T_N))
    return bell / bell.sum(), wave / wave.sum()


for ratio in (3, 2, 1.75, 1.5, 1.25, 1):
    factor = (add_noise @ torch.cos(2 * math.pi * u / ratio / T_N))[500].item()  # what is left of a wave of height 1, at u = 0
    assert abs(factor - math.exp(-2 * (math.pi / ratio) ** 2)) < 1e-10
    p, q = (add_noise @ density for density in pair(ratio))
    kl = (q * (q / p).log() + p - q).sum().item()  # p - q: the sums are not exactly 1
    right = [min(1, 0.5 + 0.5 * math.sqrt(count * kl / 2)) for count in (10**3, 10**5, 10**7)]
    print(f"wavelength {ratio} t_n: factor {factor:.0e}, right with probability at most", *(f"{p:.3f}" for p in right))

# %%
figure, axes = plt.subplots(1, 2, sharey=True)
for density, style, name in zip(pair(1.5), ("C0", "C1--"), ("bell", "bell with a wave"), strict=True):
    axes[0].plot(u, density / 0.02, style)
    axes[1].plot(u, add_noise @ density / 0.02, style, label=name)
axes[0].set(xlabel="x", ylabel="density", title="clean", xlim=(-4, 4))
axes[1].set(xlabel="x", title="with noise, $t_n = 0.5$", xlim=(-4, 4))
axes[1].legend()
plt.show()

# %% [markdown]
# The probabilities are those for 1,000, 100,000 and 10,000,000 samples. Waves shorter than about $1.5 t_n$ leave no usable trace
# in 100,000 samples, for any method. We call this limit the **wall**. It is proportional to $t_n$, and more samples move it only
# slowly. So **"exact" is a statement about minimisers**: with unlimited data and a rich network, the minimiser of the losses is
# the exact denoiser. With finite data, detail beyond the wall comes from what the network prefers, and no loss can change this.
#
# ## Exercises
#
# **1.** Find a denoiser that is consistent at all levels and yet wrong.

# %% [markdown]
# <details><summary>Answer</summary>
#
# The exact denoiser of any other density, such as the standard normal one: the proof above never uses which density it is. (A
# constant $c$ belongs to data that are all equal to $c$.) Only the values at $t_n$ tell the densities apart.
#
# ```python
# other = lambda x, t: exact(x, t, log_density=-(GRID**2) / 2)
# hs = watch(other, torch.full((4000,), 0.3), torch.Generator().manual_seed(7))[1]
# assert ((hs.mean(1) - hs[0, 0])[1:] / hs[1:].std(1) * len(hs[0]) ** 0.5).abs().max() < 4
# assert relative_error(other, 1.0) > 0.5
# ```
#
# </details>

# %% [markdown]
# **2.** Somebody adds independent normal noise to the outputs of early stop, with the missing variance. Are they now distributed
# as $X_0$?

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. The variance is right, but the noise fills the valley between the bumps, which $X_0$ hardly visits.
#
# ```python
# x_0 = draw(8000, generator)
# repaired = hs[0] + (x_0.var() - hs[0].var()).sqrt() * torch.randn(8000, generator=generator)
# assert abs(repaired.var() - x_0.var()) < 0.05
# in_valley = [((values - 0.2).abs() < 0.3).float().mean() for values in (x_0, hs[-1], repaired)]
# assert max(in_valley[:2]) < 0.5 * in_valley[2]
# ```
#
# </details>

# %% [markdown]
# **3.** Train the first network with the square of one residual in place of the product. What does it learn?

# %% [markdown]
# <details><summary>Answer</summary>
#
# A denoiser that is flatter than the exact one, and further from it than without any consistency loss.
#
# ```python
# def square(h, x_n, generator):
#     t, s, h_t, mean, std = own_step(h, x_n[:128], generator)
#     r = h(mean + std * torch.randn(128, generator=generator), s) - h_t
#     return ambient_loss(h, x_n, generator).mean() + (r**2 * (1 + t**2) / t**2).mean()
#
#
# x_t, t = draw(10_000, generator) + 0.2 * torch.randn(10_000, generator=generator), torch.full((10_000,), 0.2)
# mean_slope = lambda h: ((h(x_t + 0.01, t) - h(x_t - 0.01, t)).mean() / 0.02).item()
# squared = train(copy.deepcopy(low), square, steps=600, rate=5e-3)
# assert mean_slope(squared) < mean_slope(exact) - 0.1 < mean_slope(control)
# assert relative_error(squared, 0.3) > 1.5 * relative_error(control, 0.3)
# ```
#
# </details>

# %% [markdown]
# ## Next
#
# Tutorial 4, *The same with `ambient`*, does all this with the package: with the losses in `ambient/losses.py`, and with the
# step `matched` in `ambient/kernels.py`.
