# %% [markdown]
# # 3. Below the noise
#
# The ambient loss of tutorial 2 says nothing about levels below that of the data. This tutorial shows the second idea of the
# paper, consistency, which carries the denoiser to these levels. At the end you know why the loss needs two draws, what the
# antithetic trick does, and in which sense the method is exact.
#
# *Needed before:* tutorials 1 and 2 with exercise 2 of the first and exercise 3 of the second. *Running time:* about 15 seconds.

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


def exact(x, t, log_density=LOG_P_0):  # E[X_0 | X_t = x], (B,), (B,) -> (B,)
    return torch.softmax(log_density - (x[:, None] - GRID) ** 2 / (2 * t[:, None] ** 2), dim=1) @ GRID


# %% [markdown]
# ## Nothing constrains the network there
#
# We train two networks on the same noisy data. They differ in their inputs: sines and cosines of $\ln t$ with low or with high
# frequencies. The loss is the antithetic ambient loss (exercise 3 of tutorial 2), which also works at $t_n$ itself.


# %%
class Denoiser(nn.Module):
    def __init__(self, frequencies):
        super().__init__()
        self.frequencies = torch.tensor(frequencies)  # two of them
        self.F = nn.Sequential(nn.Linear(5, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, x, t):  # (...), (...) -> (...); it is x at t = 0
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


torch.manual_seed(1)  # the weights of the networks
low, high = (train(Denoiser(frequencies), ambient_loss, steps=1000, rate=1e-2) for frequencies in ([1.0, 2.0], [2.0, 4.0]))


# %%
def relative_error(h, ratio):
    """nE at the level t = ratio t_n: the mean square distance of h to the exact denoiser, divided by the MMSE."""
    generator, t = torch.Generator().manual_seed(2), torch.full((10_000,), ratio * T_N)
    x_0 = draw(len(t), generator)
    x_t = x_0 + t * torch.randn(len(t), generator=generator)
    best = exact(x_t, t)
    with torch.no_grad():
        return ((h(x_t, t) - best).square().mean() / (best - x_0).square().mean()).item()


held_out = [ambient_loss(h, HELD_OUT, torch.Generator().manual_seed(3)).detach() for h in (low, high)]
gap, error = (held_out[0] - held_out[1]).mean(), (held_out[0] - held_out[1]).std() / len(HELD_OUT) ** 0.5
print(f"difference of the held-out ambient losses: {gap:.4f} +- {error:.4f}")
assert abs(gap) < 4 * error
x, t = torch.linspace(-2, 2, 201), torch.full((201,), 0.4 * T_N)
figure, ax = plt.subplots()
ax.plot(x, exact(x, t), "k:", label="exact")
for h, style, name in ((low, "C0", "low frequencies"), (high, "C1--", "high frequencies")):
    print(f"{name}: nE = {relative_error(h, 1.5):.4f} at 1.5 t_n, {relative_error(h, 0.4):.2f} at 0.4 t_n")
    ax.plot(x, h(x, t).detach(), style, label=name)
    assert relative_error(h, 1.5) < 0.02 < 0.1 < relative_error(h, 0.4)
ax.set(xlabel="x", ylabel="h(x, t)", title="$t = 0.4 t_n$")
ax.legend()
plt.show()

# %% [markdown]
# The two losses cannot be told apart, and above $t_n$ both networks are good. Below $t_n$ they differ, and both are wrong: there
# the values come from the form of the network and not from the data.
#
# ## The reverse process
#
# A sampler goes from $X_t$ to a less noisy $X_s$. If $X_0$ were known, $X_s$ would be normal with mean
# $X_0 + \frac{s^2}{t^2} (X_t - X_0)$ and variance $s^2 (t^2 - s^2) / t^2$. But $X_0$ is known only through its posterior, with
# mean $h(X_t, t)$ and variance $t^2 \partial h / \partial x$ (exercise 2 of tutorial 1). So the mean and the variance of $X_s$
# given $X_t$ follow from $h$. We draw $X_s$ from the normal distribution with this mean and variance, which is accurate for small
# steps.


# %%
def reverse_step(h, x_t, t, s):
    """h(x_t, t), and the mean and the standard deviation of X_s given X_t = x_t according to h; all (B,)."""
    x_t = x_t.detach().requires_grad_()
    h_t = h(x_t, t)
    slope = torch.autograd.grad(h_t.sum(), x_t, retain_graph=True)[0].clamp(min=0)
    variance = s**2 * (t**2 - s**2) / t**2 + (1 - s**2 / t**2) ** 2 * t**2 * slope
    return h_t, h_t + s**2 / t**2 * (x_t - h_t), variance.sqrt()


# %%
LEVELS = T_N * 10 ** -torch.linspace(0, 1, 31)  # from t_n to t_n / 10


def watch(h, start, generator, count=4000):
    """The values of X_s and h(X_s, s) along many paths that start at X_{t_n} = start; both (levels, count)."""
    x_s = torch.full((count,), start)
    xs, hs = [x_s], [h(x_s, LEVELS[:1])]
    for t, s in pairwise(LEVELS[:, None]):
        _, mean, std = reverse_step(h, x_s, t, s)
        x_s = (mean + std * torch.randn(count, generator=generator)).detach()
        xs, hs = [*xs, x_s], [*hs, h(x_s, s).detach()]
    return torch.stack(xs), torch.stack(hs)


# %%
xs, hs = watch(exact, 0.0, torch.Generator().manual_seed(4))
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
# Each path ends in one of the bumps. The mean of $X_s$ moves, but the mean of $h(X_s, s)$ stays where it was:
# $E[h(X_s, s) \mid X_t] = h(X_t, t)$. Such a sequence is a **martingale**. The reason takes one line. The exact $h$ is a
# conditional mean, and $X_t$ is $X_s$ plus more noise, so the tower property gives
#
# $$E[h(X_s, s) \mid X_t] = E[E[X_0 \mid X_s] \mid X_t] = E[X_0 \mid X_t] = h(X_t, t).$$
#
# ## Consistency as a loss
#
# A denoiser with this property along its own reverse process is called **consistent**. The loss is the square of the violation,
# $(E[r \mid x_t])^2$ with the residual $r = h(X_s, s) - h(x_t, t)$. It needs no data below $t_n$, because the reverse process of
# $h$ makes the values of $X_s$. But the mean inside the square must be estimated from draws of $X_s$. If one squares a single
# residual, the result is $E[r^2] = (E[r])^2 + \mathrm{Var}(r)$. The product of two independent residuals has the right mean,
# $E[r_1 r_2] = (E[r])^2$.


# %%
def residuals(h, x_t, t, s, shape, generator, antithetic=False):
    """Draws of h(X_s, s) - h(x_t, t), of the given shape, for one x_t; antithetic: the mean of those for +Z and -Z."""
    h_t, mean, std = reverse_step(h, torch.tensor([x_t]), torch.tensor([t]), torch.tensor([s]))
    noise = std * torch.randn(math.prod(shape), generator=generator)
    signs = (1, -1) if antithetic else (1,)
    with torch.no_grad():
        return (sum(h(mean + sign * noise, torch.full_like(noise, s)) for sign in signs) / len(signs) - h_t).reshape(shape)


r_1, r_2 = residuals(low, 0.8, 0.5, 0.3, (2, 200_000), torch.Generator().manual_seed(5))
naive, product = r_1**2, r_1 * r_2
bias, error = (naive - product).mean(), (naive - product).std() / len(r_1) ** 0.5
print(f"mean of the square of one residual {naive.mean():.4f}, of the product of two {product.mean():.4f}")
print(f"bias of the square {bias:.4f} +- {error:.4f}, variance of the residual {r_1.var():.4f}")
assert abs(bias - r_1.var()) < 4 * error
assert bias > 2 * product.mean()

# %% [markdown]
# Here the bias is several times as large as the quantity itself. A network that is trained on the naive square can lower it by
# lowering the variance, that is, by an $h$ that is flatter than the exact one.
#
# ## Both signs of the noise
#
# The product has the right mean, but its variance is large because the residuals vary. For a small step, $h(X_s, s)$ changes
# almost linearly with the noise, so the mean over $+Z$ and $-Z$ cancels most of it. Let $e = 1 - s / t$ be the share of the noise
# that the step removes. The variance of $X_s$ is of order $e$, so that of a plain residual is of order $e$ as well. In the
# antithetic mean only the second-order term is left, with a variance of order $e^2$.

# %%
for name, antithetic in (("one sign", False), ("both signs", True)):
    small, large = (residuals(exact, 0.3, 0.4, 0.4 * (1 - e), (50_000,), generator, antithetic).var() for e in (0.001, 0.004))
    order = (large / small).log2() / 2  # of the variance in e, because e grows fourfold
    print(f"{name}: variance {small:.1e} for e = 0.001 and {large:.1e} for e = 0.004, so the order is {order:.2f}")
    assert abs(order - (2 if antithetic else 1)) < 0.1

# %% [markdown]
# ## Training with it
#
# Now we train the first network further, with both losses. Each consistency term starts from a data point, which the denoiser
# moves from $t_n$ to a lower level $t$ without new noise. Most levels are drawn close to $t_n$, because errors there are carried
# down to all lower levels.


# %%
def consistency_loss(h, x_n, generator):
    depth, size = torch.rand(2, len(x_n), generator=generator)
    t = T_N * torch.exp(-3.5 * depth**8)  # (B,), down to 0.03 t_n
    s = t * torch.exp(-0.1 - 0.9 * size)
    h_n = h(x_n, torch.full_like(x_n, T_N))
    h_t, mean, std = reverse_step(h, h_n + t / T_N * (x_n - h_n), t, s)
    noise = std.detach() * torch.randn(2, len(x_n), generator=generator)  # (2, B), two independent draws
    r = (h(mean + noise, s.expand(2, -1)) + h(mean - noise, s.expand(2, -1))) / 2 - h_t  # (2, B)
    return r[0] * r[1] * (1 + t**2) / t**2


def both_losses(h, x_n, generator):
    return ambient_loss(h, x_n, generator).mean() + consistency_loss(h, x_n[:128], generator).mean()


ours = train(copy.deepcopy(low), both_losses, steps=1000, rate=5e-3)

# %%
ratios = [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0]
before, after = ([relative_error(h, ratio) for ratio in ratios] for h in (low, ours))
figure, ax = plt.subplots()
ax.loglog(ratios, before, "C0o-", markersize=4, label="before")
ax.loglog(ratios, after, "C1s--", markersize=4, label="after")
ax.axvspan(0.08, 1, color="0.9")
ax.set(xlabel="$t / t_n$", ylabel="nE(t)", xlim=(0.08, 4), title="distance to the exact denoiser")
ax.legend()
plt.show()
print(f"mean nE from 0.1 to 0.85 t_n: {sum(before[:7]) / 7:.3f} before, {sum(after[:7]) / 7:.3f} after")
assert sum(after[:7]) < 0.5 * sum(before[:7])

# %% [markdown]
# Consistency alone does not determine $h$ (exercise 1). Theorem 3.4 of the paper says that consistency below $t_n$, the right
# values at $t_n$, and $h(x, 0) = x$ together do. (In more than one dimension it also assumes that $h - x$ is a gradient.) The
# reason: such an $h$ is the exact denoiser of *some* density. If it is right at $t_n$, this density with noise added is
# $p_{t_n}$, and different densities stay different when normal noise is added.
#
# ## The wall
#
# How different are the noisy densities? Noise of standard deviation $t_n$ multiplies the height of a wave by
# $\exp(-2 \pi^2 (t_n / \text{wavelength})^2)$. This factor is never 0, so different densities stay different, but it soon becomes
# tiny. We take two clean densities, a bell curve and the same curve with a wave on it, and ask how well *any* method can tell
# from 100,000 noisy samples which of them is the truth. By Pinsker's inequality it is right with probability at most
# $\frac12 + \frac12 \sqrt{N KL / 2}$, where $KL$ is the Kullback-Leibler divergence of the noisy densities.

# %%
u = torch.linspace(-6, 6, 1201, dtype=torch.float64)
add_noise = torch.softmax(-((u[:, None] - u) ** 2) / (2 * T_N**2), dim=1)  # (1201, 1201), each row sums to 1


def pair(wavelength):
    bell = torch.exp(-(u**2) / 4)
    wave = bell * (1 + 0.9 * torch.cos(2 * math.pi * u / wavelength))
    return [density / density.sum() for density in (bell, wave)]


for ratio in (4, 3, 2, 1.5, 1):
    p, q = (add_noise @ density for density in pair(ratio * T_N))
    kl = (q * (q / p).log()).sum().item()
    at_most = min(1, 0.5 + 0.5 * math.sqrt(100_000 * max(kl, 0) / 2))
    factor = (add_noise @ torch.cos(2 * math.pi * u / ratio / T_N))[600].item()  # what is left of a wave of height 1, at u = 0
    print(f"wavelength {ratio} t_n: factor {factor:.1e}, right with probability at most {at_most:.4f}")
    assert abs(factor - math.exp(-2 * (math.pi / ratio) ** 2)) < 1e-10
figure, axes = plt.subplots(1, 2, sharey=True)
for ax, noisy, title in ((axes[0], False, "clean"), (axes[1], True, "with noise, $t_n = 0.5$")):
    for density, style, name in zip(pair(1.5 * T_N), ("C0", "C1--"), ("bell", "bell with a wave"), strict=True):
        ax.plot(u, (add_noise @ density if noisy else density) / 0.01, style, label=name)
    ax.set(xlabel="x", ylabel="density", title=title, xlim=(-4, 4))
axes[1].legend()
plt.show()

# %% [markdown]
# Waves shorter than about $1.5 t_n$ leave no usable trace in 100,000 samples, for any method. We call this limit the **wall**. So
# **"exact" is a statement about minimisers**: with unlimited data and a rich network, the minimiser of the losses is the exact
# denoiser. With finite data, detail beyond the wall comes from what the network prefers, and no loss can change this.
#
# ## Exercises
#
# **1.** Find a denoiser that is consistent at all levels and yet wrong.

# %% [markdown]
# <details><summary>Answer</summary>
#
# The exact denoiser of any other density, such as the standard normal one, is consistent, because the proof above never uses
# which density it is. (A constant is consistent too, but it violates $h(x, 0) = x$.) Only the values at $t_n$ tell the densities
# apart.
#
# ```python
# other = lambda x, t: exact(x, t, log_density=-(GRID**2) / 2)
# hs = watch(other, 0.3, torch.Generator().manual_seed(7))[1]
# assert ((hs.mean(1) - hs[0, 0])[1:] / hs[1:].std(1) * len(hs[0]) ** 0.5).abs().max() < 4
# assert relative_error(other, 1.0) > 0.5
# ```
#
# </details>

# %% [markdown]
# **2.** A simple alternative stops the sampler at $t_n$ and outputs $h(X_n, t_n)$ (**early stop**). Why are its outputs not
# distributed as $X_0$, even for the exact $h$?

# %% [markdown]
# <details><summary>Answer</summary>
#
# They are distributed as $E[X_0 \mid X_n]$. The variance of $X_0$ is the variance of this mean plus the MMSE, so the outputs vary
# too little.
#
# ```python
# x_0 = draw(50_000, generator)
# x_n = x_0 + T_N * torch.randn(50_000, generator=generator)
# outputs = exact(x_n, torch.full_like(x_n, T_N))
# assert abs(x_0.var() - outputs.var() - (outputs - x_0).square().mean()) < 0.02
# assert outputs.var() < x_0.var() - 0.05
# ```
#
# </details>

# %% [markdown]
# **3.** You may draw four values of $X_s$ for each $x_t$. What is the bias of the square of their mean residual? Give an unbiased
# estimate that uses all four.

# %% [markdown]
# <details><summary>Answer</summary>
#
# The bias is $\mathrm{Var}(r) / 4$. The mean of $r_i r_j$ over all pairs $i \ne j$ is unbiased; it equals
# $((\sum r_i)^2 - \sum r_i^2) / 12$.
#
# ```python
# r = residuals(low, 0.8, 0.5, 0.3, (4, 100_000), generator)
# square, pairs = r.mean(0) ** 2, (r.sum(0) ** 2 - (r**2).sum(0)) / 12
# assert abs((square - pairs).mean() / (r.var() / 4) - 1) < 0.03
# assert abs(pairs.mean() - r.mean() ** 2) < 4 * pairs.std() / 100_000**0.5
# assert pairs.var() < (r[0] * r[1]).var() / 3
# ```
#
# </details>

# %% [markdown]
# ## Next
#
# Tutorial 4, *The same with `ambient`*, does all this with the package. The losses are `ambient`, `antithetic_ambient` and
# `consistency` in `ambient/losses.py`, the step is `matched` in `ambient/kernels.py`, and the theorem is checked in
# `theory_checks/test_main_theorem.py`.
