# %% [markdown]
# # 2. Tweedie twice
#
# The data are noisy, and nobody has the clean values. This tutorial finds, first by an experiment and then by algebra, an
# identity by which a network learns the clean posterior mean from noisy data. At the end you can train a clean denoiser from
# noisy data in 40 lines. You know at which levels it is right, how to train the level of the data itself, and why a good denoiser
# at this level is not yet a sampler.
#
# *Needed before:* tutorial 1. *Running time:* about 10 seconds.

# %%
import math

import matplotlib.pyplot as plt
import torch
from torch import nn

plt.style.use("tableau-colorblind10")
plt.rcParams.update({"figure.figsize": (7, 3), "figure.constrained_layout.use": True, "legend.frameon": False})

# the two bumps of tutorial 1, and their exact posterior mean
WEIGHTS, MEANS, STD = torch.tensor([0.6, 0.4]), torch.tensor([-0.8, 1.2]), 0.2
GRID = torch.linspace(-2.5, 3.0, 276, dtype=torch.float64)  # (G,), values of X_0
LOG_P_0 = (WEIGHTS * torch.exp(-(((GRID[:, None] - MEANS) / STD) ** 2) / 2)).sum(1).log()  # (G,), up to a constant


def draw(count, generator):
    bump = torch.multinomial(WEIGHTS, count, replacement=True, generator=generator)
    return MEANS[bump] + STD * torch.randn(count, generator=generator)


def posterior_mean(x, t):  # E[X_0 | X_t = x], (B,) -> (B,)
    return torch.softmax(LOG_P_0 - (x[:, None] - GRID) ** 2 / (2 * t**2), dim=1) @ GRID


# %% [markdown]
# ## The experiment
#
# The data are $X_n = X_0 + t_n Z$ with $t_n = 0.5$, the **data level**. We draw new standard normal noise $Z'$, independent of
# $X_n$, and get $X_t = X_n + q Z'$. Variances of independent noise add up, so $X_t$ has the level $t$ with $t^2 = t_n^2 + q^2$.
#
# A network that sees $X_t$ and must predict $X_n$ learns $E[X_n \mid X_t]$, and no clean value is needed for that. How is this
# mean related to $E[X_0 \mid X_t]$? We plot both, with averages over narrow bins in place of a network.
#
# If $E[X_n \mid X_t]$ lies at a fixed share of the way from $X_t$ to $E[X_0 \mid X_t]$, then the mean of $X_t - X_n$ given $X_t$
# is this share times $X_t - E[X_0 \mid X_t]$. So the share is the slope of a linear regression through 0.

# %%
T_N, COUNT = 0.5, 40_000
generator = torch.Generator().manual_seed(0)
x_n = draw(COUNT, generator) + T_N * torch.randn(COUNT, generator=generator)  # the data; the clean values are not kept


def share_of_the_way(t):
    """X_t, E[X_0 | X_t], and how far E[X_n | X_t] lies on the way from X_t to E[X_0 | X_t], with its standard error."""
    x_t = x_n + math.sqrt(t**2 - T_N**2) * torch.randn(COUNT, generator=generator)
    clean = posterior_mean(x_t, t).float()
    share = ((x_t - x_n) * (x_t - clean)).sum() / (x_t - clean).square().sum()  # the slope
    residual = (x_t - x_n - share * (x_t - clean)) * (x_t - clean)
    return x_t, clean, share.item(), (residual.square().sum().sqrt() / (x_t - clean).square().sum()).item()


# %%
x, t = torch.linspace(-3, 3, 301, dtype=torch.float64), 0.8
x_t, clean, *_ = share_of_the_way(t)
bins = [(x_t - center).abs() < 0.1 for center in torch.arange(-2.6, 2.7, 0.2)]
levels = torch.tensor([0.55, 0.6, 0.7, 0.8, 1.0, 1.3, 2.0, 3.0])
shares, errors = torch.tensor([share_of_the_way(level)[2:] for level in levels.tolist()]).T  # (8,), (8,)

figure, (left, right) = plt.subplots(1, 2)
left.plot(x, x, "k:", label="$x$")
left.plot([x_t[i].mean() for i in bins], [x_n[i].mean() for i in bins], "C1o", markersize=4, label="averages of $X_n$")
left.plot(x, posterior_mean(x, t), "C0", label="$E[X_0 | X_t = x]$")
left.set(xlabel="$x_t$", title="$t = 0.8$", xlim=(-3, 3), ylim=(-3, 3))
left.legend()
right.errorbar(levels, shares, 3 * errors, fmt="C1o", markersize=4, label="measured ($\\pm 3$ standard errors)")
curve = torch.linspace(T_N, 3, 200)
right.plot(curve, (curve**2 - T_N**2) / curve**2, "C0", label="$(t^2 - t_n^2) / t^2$")
right.set(xlabel="t", title="share of the way from $x$ to $E[X_0 | X_t]$", ylim=(0, 1.05))
right.legend(loc="lower right")
plt.show()

# %% [markdown]
# On the left, the averages of $X_n$ lie between the dotted line and the curve, everywhere at the same share of the way. On the
# right we measure this share at many levels. It is $q^2 / t^2 = (t^2 - t_n^2) / t^2$: the part of the variance of the noise that
# we added ourselves. The noise in $X_t$ has two parts, and $E[X_n \mid X_t]$ removes only our part. We test the formula itself in
# each bin:

# %%
expected = ((t**2 - T_N**2) * clean + T_N**2 * x_t) / t**2  # the share q^2 / t^2 of the way from x_t to E[X_0 | X_t]
z = torch.stack([(x_n - expected)[i].mean() / (x_n - expected)[i].std() * i.sum().sqrt() for i in bins])
print(f"bins: errors in standard errors: root mean square {z.square().mean().sqrt():.2f}, largest {z.abs().max():.2f}")
assert z.abs().max() < 4
z = (shares - (1 - T_N**2 / levels**2)) / errors
print(f"levels: errors in standard errors: root mean square {z.square().mean().sqrt():.2f}, largest {z.abs().max():.2f}")
assert z.abs().max() < 4

# %% [markdown]
# ## The identity in four lines
#
# Tweedie's formula holds for any variable to which independent normal noise is added. $X_t$ is $X_0$ plus noise of variance
# $t^2$. It is also $X_n$ plus noise of variance $q^2 = t^2 - t_n^2$. Both have the same density $p_t$, so the same score is
# written twice:
#
# $$\nabla \log p_t(x) = \frac{E[X_0 \mid X_t = x] - x}{t^2} \qquad \text{(first noise: } X_0 \to X_t)$$
#
# $$\nabla \log p_t(x) = \frac{E[X_n \mid X_t = x] - x}{q^2} \qquad \text{(second noise: } X_n \to X_t)$$
#
# $$E[X_n \mid X_t = x] = x + \frac{q^2}{t^2} (E[X_0 \mid X_t = x] - x)$$
#
# $$E[X_n \mid X_t = x] = \frac{q^2 E[X_0 \mid X_t = x] + t_n^2 x}{t^2}$$
#
# The left side can be learned from noisy data. The right side contains what we want:
# $E[X_0 \mid X_t = x] = (t^2 E[X_n \mid X_t = x] - t_n^2 x) / q^2$. This is Lemma A.2 of the paper, which is printed there with a
# misprint (tutorial 5).
#
# ## The identity as a loss
#
# Let the network be $h(x, t)$, and let it predict $X_n$ through the last formula. The **ambient loss** is
#
# $$\left( \frac{q^2 h(X_t, t) + t_n^2 X_t}{t^2} - X_n \right)^2 .$$
#
# The best prediction of $X_n$ is $E[X_n \mid X_t]$. For $q > 0$ the prediction equals it if and only if
# $h(x, t) = E[X_0 \mid X_t = x]$. The clean posterior mean is therefore the only minimiser. This is Theorem 3.1 of the paper; the
# loss that is printed there has a misprint too (tutorial 5). The two cells below are the complete training program; it uses the
# noisy values alone.


# %%
class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.F = nn.Sequential(nn.Linear(5, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, x, t):  # (B,), (B,) -> (B,); tends to x as t -> 0
        std, angles = (1 + t**2).sqrt(), t.log()[:, None] * torch.tensor([1.0, 2.0])  # (B,), (B, 2)
        features = torch.cat([(x / std)[:, None], angles.sin(), angles.cos()], 1)  # (B, 5)
        return x / std**2 + t / std * self.F(features)[:, 0]


# %%
def ambient_loss(h, x_n, generator):
    q = 0.05 * T_N * 200 ** torch.rand(len(x_n), generator=generator)  # (B,), the standard deviation of our noise, up to 10 t_n
    t = (T_N**2 + q**2).sqrt()
    x_t = x_n + q * torch.randn(len(x_n), generator=generator)
    return (((q**2 * h(x_t, t) + T_N**2 * x_t) / t**2 - x_n) ** 2).mean()


def train(x_n, loss_of, steps=2000, batch=512):
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(1)  # the weights of the network
    h = Denoiser()
    optimiser = torch.optim.Adam(h.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for _ in range(steps):
        loss = loss_of(h, x_n[torch.randint(len(x_n), (batch,), generator=generator)], generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return h.requires_grad_(False)


h = train(x_n, ambient_loss)

# %% [markdown]
# ## How good is it?
#
# Only now do we look at clean values. As in tutorial 1, $nE(t)$ is the mean square distance of $h$ to the exact denoiser, divided
# by the smallest possible error (MMSE) at this level: 0 is exact, and at 1 the network is as far from the exact denoiser as the
# clean value is.


# %%
def relative_error(h, t):
    """nE(t), by 20,000 fresh clean values."""
    generator = torch.Generator().manual_seed(2)
    x_0 = draw(20_000, generator)
    x_t = x_0 + t * torch.randn(len(x_0), generator=generator)
    exact = posterior_mean(x_t, t).float()
    return ((h(x_t, torch.full_like(x_t, t)) - exact).square().mean() / (exact - x_0).square().mean()).item()


ratios = [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0, 1.1, 1.2, 1.5, 2.0, 3.0, 5.0]  # t / t_n
error = {ratio: relative_error(h, ratio * T_N) for ratio in ratios}
for ratio in (1.0, 1.1, 1.5, 2.0, 5.0):
    print(f"t = {ratio} t_n: nE = {error[ratio]:.4f}, weight of the loss (q^2 / t^2)^2 = {(1 - 1 / ratio**2) ** 2:.3f}")
assert max(error[ratio] for ratio in (1.5, 2.0, 5.0)) < 0.03 < error[1.0]

# %%
below = 0.4 * T_N
figure, (left, right) = plt.subplots(1, 2)
left.loglog(ratios, error.values(), "C1o-", markersize=4)
left.axvspan(0.08, 1, color="0.9")
left.text(0.1, 0.003, "no data here")
left.set(xlabel="$t / t_n$", ylabel="nE(t)", xlim=(0.08, 6), title="distance to the exact denoiser")
left.set_xticks([0.1, 0.3, 1, 3], ["0.1", "0.3", "1", "3"])
right.plot(x, posterior_mean(x, below), "C0", label="exact")
right.plot(x, h(x.float(), torch.full((len(x),), below)), "C1--", label="learned")
right.set(xlabel="x", ylabel="h(x, t)", xlim=(-2, 2), ylim=(-2, 2), title="$t = 0.4\\, t_n$, below the data level")
right.legend()
plt.show()
print(f"t = {below}: nE = {error[0.4]:.2f}")
assert error[0.4] > 10 * error[1.5]

# %% [markdown]
# - **Above the data level** the network is close to the exact clean denoiser, although it has never seen a clean value.
# - **At the data level** it is worse: if we add almost no noise, the prediction of $X_n$ is almost $X_t$, whatever $h$ says. In
#   formulas: by the fourth line of the identity, the prediction minus $E[X_n \mid X_t]$ is
#   $\frac{q^2}{t^2} (h - E[X_0 \mid X_t])$. So at each level the mean of the loss is
#   $(q^2 / t^2)^2 E (h - E[X_0 \mid X_t])^2$ plus a term without $h$. The weight $(q^2 / t^2)^2$ tends to 0 as $t$ falls to
#   $t_n$.
# - **Below the data level** it fails. No value of $X_t$ with $t < t_n$ can be made from $X_n$ by adding noise, so the loss never
#   evaluates $h$ there. Tutorial 3 explains what can be done.
#
# ## A loss for the data level too
#
# With $X_t = X_n + q Z'$, the prediction minus $X_n$ is $\frac{q^2}{t^2} (h - X_n + \frac{t_n^2}{q} Z')$. We divide by the
# weight, that is, we drop the factor $q^2 / t^2$ before the square. The terms of the square that contain $h$ are those of
#
# $$(h - X_n)^2 + \frac{2 t_n^2}{q} Z' (h - X_n).$$
#
# **Its mean** follows from **Stein's lemma**: $E[Z g(Z)] = E[g'(Z)]$ for standard normal $Z$ and a smooth $g$ that does not grow
# too fast. (Integrate by parts; the normal density satisfies $z \varphi(z) = -\varphi'(z)$.) Let $h'$ be the derivative of $h$ in
# $x$. As $h$ depends on $Z'$ through $q Z'$, the second term has the mean $2 t_n^2 E[h']$. In the first term,
# $h - X_n = h - X_0 - t_n Z$, and $h$ depends on $Z$ through $t_n Z$. So its mean is $E (h - X_0)^2 - 2 t_n^2 E[h'] + t_n^2$. The
# sum is $E (h - X_0)^2 + t_n^2$: the error of the denoiser itself, from noisy data, with the weight 1 at every level.
#
# **Its variance** grows as $1 / q^2$. We therefore use each $Z'$ with both signs. With $h_\pm = h(X_n \pm q Z', t)$ this gives
# the **antithetic ambient loss**
#
# $$\frac{(h_+ - X_n)^2 + (h_- - X_n)^2}{2} + \frac{t_n^2}{q} Z' (h_+ - h_-).$$
#
# The difference $h_+ - h_-$ is of order $q$, so the last term stays bounded. As $q$ tends to 0, the loss tends to
# $(h - X_n)^2 + 2 t_n^2 Z'^2 h'$.


# %%
def antithetic_ambient_loss(h, x_n, generator):
    q = 0.05 * T_N * 200 ** torch.rand(len(x_n), generator=generator)  # (B,), as before
    t, noise = (T_N**2 + q**2).sqrt(), torch.randn(len(x_n), generator=generator)
    plus, minus = h(x_n + q * noise, t), h(x_n - q * noise, t)
    return (((plus - x_n) ** 2 + (minus - x_n) ** 2) / 2 + T_N**2 / q * noise * (plus - minus)).mean()


h_both = train(x_n, antithetic_ambient_loss, batch=256)  # two evaluations of h for each sample
for ratio in (1.0, 1.1, 1.5, 2.0):
    print(f"t = {ratio} t_n: nE = {error[ratio]:.4f} before, {relative_error(h_both, ratio * T_N):.4f} with both signs")
assert relative_error(h_both, T_N) < 0.1 * error[1.0]
assert relative_error(h_both, 0.4 * T_N) > 0.1  # below the data level it fails as well

# %% [markdown]
# ## A denoiser is not yet a sampler
#
# Now $h$ is good at $t_n$. Can one output $h(X_n, t_n)$ as a sample of the clean distribution? This is called **early stop**. Its
# outputs are distributed as $E[X_0 \mid X_n]$, not as $X_0$. The equation for the best denoiser in tutorial 1, with the constant
# $E[X_0]$ for $h$, says that the variance of $X_0$ is the variance of $E[X_0 \mid X_n]$ plus the MMSE. So the outputs vary too
# little: the MMSE at $t_n$ is missing, even if $h$ is exact.

# %%
clean = draw(COUNT, generator)
seen = clean + T_N * torch.randn(COUNT, generator=generator)
best, outputs = posterior_mean(seen, T_N).float(), h_both(seen, torch.full_like(seen, T_N))
mmse = (best - clean).square().mean()
print(f"variances: X_0 {clean.var():.3f}, early stop with the exact h {best.var():.3f}, with ours {outputs.var():.3f}")
print(f"MMSE at t_n: {mmse:.3f}")
assert abs(clean.var() - best.var() - mmse) < 0.02
assert abs(outputs.var() - best.var()) < 0.02
figure, ax = plt.subplots()
ax.hist(clean.numpy(), bins=100, density=True, color="0.85", label="$X_0$")
ax.hist(outputs.numpy(), bins=100, density=True, color="C1", histtype="step", label="early stop, $h(X_n, t_n)$")
ax.set(xlabel="x", ylabel="density")
ax.legend()
plt.show()

# %% [markdown]
# ## Exercises
#
# **1.** Other noise schedules shrink the signal: $X_t = \alpha_t X_0 + \sigma_t Z$. Then $X_t = r X_n + q Z'$ with
# $r = \alpha_t / \alpha_n$ and $q^2 = \sigma_t^2 - r^2 \sigma_n^2$. Repeat the four lines.

# %% [markdown]
# <details><summary>Answer</summary>
#
# $\nabla \log p_t(x) = (\alpha_t E[X_0 \mid X_t = x] - x) / \sigma_t^2 = (r E[X_n \mid X_t = x] - x) / q^2$. With
# $\alpha_t = r \alpha_n$ and $\sigma_t^2 - q^2 = r^2 \sigma_n^2$ this gives
# $E[X_n \mid X_t = x] = (\alpha_n q^2 E[X_0 \mid X_t = x] + r \sigma_n^2 x) / \sigma_t^2$. For a standard normal $X_0$ all means
# are lines, and their slopes are known.
#
# ```python
# alpha_n, sigma_n, alpha_t, sigma_t = 0.8, 0.6, 0.5, math.sqrt(0.75)
# r = alpha_t / alpha_n
# q2 = sigma_t**2 - r**2 * sigma_n**2
# slope_0 = alpha_t / (alpha_t**2 + sigma_t**2)  # E[X_0 | X_t = x] = slope_0 x: a covariance divided by a variance
# slope_n = r * (alpha_n**2 + sigma_n**2) / (alpha_t**2 + sigma_t**2)  # the same for X_n
# assert abs(slope_n - (alpha_n * q2 * slope_0 + r * sigma_n**2) / sigma_t**2) < 1e-12
# ```
#
# </details>

# %% [markdown]
# **2.** We add uniform noise of the same variance $q^2$ in place of normal noise. Does the identity still hold?

# %% [markdown]
# <details><summary>Answer</summary>
#
# No. The second line of the algebra is Tweedie's formula for our noise, and its proof uses the normal density. If the identity
# held for uniform noise, then $X_n - (q^2 X_0 + t_n^2 X_t) / t^2$ would have mean 0 in each bin of $X_t$.
#
# ```python
# def largest_error(noise):
#     x_0 = draw(COUNT, generator)
#     x_n = x_0 + T_N * torch.randn(COUNT, generator=generator)
#     x_t = x_n + math.sqrt(t**2 - T_N**2) * noise
#     gap = x_n - ((t**2 - T_N**2) * x_0 + T_N**2 * x_t) / t**2
#     bins = [gap[(x_t - center).abs() < 0.1] for center in torch.arange(-2, 2.1, 0.2)]
#     return max(abs(b.mean() / b.std() * len(b) ** 0.5) for b in bins)  # in standard errors
#
#
# assert largest_error(torch.randn(COUNT, generator=generator)) < 4
# assert largest_error(math.sqrt(12) * (torch.rand(COUNT, generator=generator) - 0.5)) > 8
# ```
#
# </details>

# %% [markdown]
# **3.** How do the variances of the two forms of the loss, with one sign and with both signs, change when $q$ falls from 0.1 to
# 0.01? Are their means equal to $E (h - X_0)^2 + t_n^2$?

# %% [markdown]
# <details><summary>Answer</summary>
#
# With one sign the variance grows by a factor of 100. With both signs it hardly changes. The means are right in both cases, for
# the network $h$ and not only for the exact denoiser.
#
# ```python
# def both_losses(q):
#     x_0, noise = draw(COUNT, generator), torch.randn(COUNT, generator=generator)
#     x_n = x_0 + T_N * torch.randn(COUNT, generator=generator)
#     t = torch.full_like(x_n, math.sqrt(T_N**2 + q**2))
#     plus, minus = (h(x_n + sign * q * noise, t) - x_n for sign in (1, -1))
#     one = plus**2 + 2 * T_N**2 / q * noise * plus
#     both = (one + minus**2 - 2 * T_N**2 / q * noise * minus) / 2
#     return one, both, (h(x_n + q * noise, t) - x_0) ** 2 + T_N**2  # the third one needs the clean value
#
#
# (far, far_both, _), (near, near_both, truth) = both_losses(0.1), both_losses(0.01)
# assert 80 < near.var() / far.var() < 125  # q is ten times smaller, so the variance is 100 times larger
# assert 0.8 < near_both.var() / far_both.var() < 1.25
# for loss in (near, near_both):  # the means are equal
#     assert abs((loss - truth).mean()) < 4 * (loss - truth).std() / math.sqrt(COUNT)
# ```
#
# </details>

# %% [markdown]
# ## Next
#
# Tutorial 3, *Below the noise*, extends the denoiser to lower levels. In this repository, the identity for all noise schedules is
# `x_n_from_x_0` in `ambient/tweedie.py`, the losses are `ambient` and `antithetic_ambient` in `ambient/losses.py`, and the
# identity is tested in `theory_checks/test_double_tweedie.py`.
