# %% [markdown]
# # 5. Four misprints
#
# Four formulas of *Consistent Diffusion Meets Tweedie* (Daras, Dimakis, Daskalakis 2024) are misprinted in the version that we
# read. Other versions may differ, so each formula is quoted here in full. The theorems are true and the method works, but a
# program that copies these formulas fails. For each of them, this tutorial evaluates the printed formula, measures what goes
# wrong, and derives the right one. At the end you can test a formula of a paper with samples before you build on it. You need
# tutorials 2 and 3. The notebook runs in about 5 seconds on one core and uses torch and matplotlib alone.
#
# ## A distribution with known answers
#
# All experiments need data for which $\mathbb{E}[X_0 \mid X_t]$ is known. We take a mixture of two Gaussians in one dimension.
# Noise is added as in Section 3 of the paper: $X_{t_n} = X_0 + \sigma_{t_n} Z$ and
# $X_t = X_{t_n} + \sqrt{\sigma_t^2 - \sigma_{t_n}^2} Z'$. A mean of samples is only as good as its standard error, so a function
# returns both. A difference of less than 4 standard errors counts as 0 in this tutorial.

# %%
import matplotlib.pyplot as plt
import torch

source = torch.Generator().manual_seed(0)
MEANS, SPREAD = torch.tensor([-1.0, 1.5], dtype=torch.float64), 0.4  # two modes of equal weight, each with this std
count, s_n, s_t = 200_000, 0.8, 1.2  # s_n and s_t are the paper's sigma_{t_n} and sigma_t
s2_n, s2_t = s_n**2, s_t**2
z_0, z_n, z_t = torch.randn(3, count, generator=source, dtype=torch.float64)
x_0 = MEANS[torch.randint(2, (count,), generator=source)] + SPREAD * z_0
x_n = x_0 + s_n * z_n
x_t = x_n + (s2_t - s2_n) ** 0.5 * z_t


def exact(x, sigma):
    """E[X_0 | X_0 + sigma Z = x], from the closed form of a Gaussian mixture; x is (N,)."""
    variance = SPREAD**2 + sigma**2
    weights = (-((x[:, None] - MEANS) ** 2) / (2 * variance)).softmax(1)  # (N, 2), posterior of the mode
    return (weights * (MEANS + SPREAD**2 / variance * (x[:, None] - MEANS))).sum(1)


def mean_and_error(values):
    """The mean of independent values (N,) and its standard error."""
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()


# %% [markdown]
# ## 1. The ambient loss: $\mathbf{h} - \mathbf{x}_t$ in the place of $\mathbf{h}$
#
# Theorem 3.1 (repeated as Theorem A.3) says that $\mathbb{E}[\mathbf{X}_0 \mid \mathbf{X}_t = \mathbf{x}_t]$ is the minimiser of
#
# $$J(\theta) = \mathbb{E}_{\mathbf{x}_{t_n}} \mathbb{E}_{t \sim \mathcal{U}(t_n, T)}
# \mathbb{E}_{\mathbf{x}_t = \mathbf{x}_{t_n} + \sqrt{\sigma_t^2 - \sigma_{t_n}^2} \boldsymbol{\eta}} \left[\left\|
# \frac{(\sigma_t^2 - \sigma_{t_n}^2)}{\sigma_t^2} (\mathbf{h}_\theta(\mathbf{x}_t, t) - \mathbf{x}_t) +
# \frac{\sigma_{t_n}^2}{\sigma_t^2} \mathbf{x}_t - \mathbf{x}_{t_n} \right\|^2 \right]$$
#
# We copy it and minimise it at one level $t$ over sums of bumps, a constant and a line.


# %%
def printed(h):
    return ((s2_t - s2_n) / s2_t * (h - x_t) + s2_n / s2_t * x_t - x_n) ** 2


def right(h):
    return ((s2_t - s2_n) / s2_t * h + s2_n / s2_t * x_t - x_n) ** 2


def features(x):
    bumps = torch.exp(-((x[:, None] - torch.linspace(-4, 4.5, 12, dtype=torch.float64)) ** 2) / 2)
    return torch.cat([bumps, torch.ones_like(bumps[:, :1]), x[:, None]], 1)  # (N,) -> (N, 14)


def minimiser(objective):
    """The best sum of features. The objective is quadratic in the coefficients, so one Newton step finds its minimum."""
    loss, zero = lambda theta: objective(features(x_t) @ theta).mean(), torch.zeros(14, dtype=torch.float64)
    theta = -torch.linalg.solve(torch.func.hessian(loss)(zero), torch.func.grad(loss)(zero))
    return lambda x: features(x) @ theta


# %%
x = torch.linspace(-3, 3.5, 200, dtype=torch.float64)
figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
ax.plot(x, minimiser(printed)(x), "C1", lw=2, label="minimiser of the printed objective")
ax.plot(x, minimiser(right)(x), "C0", lw=2, label="minimiser of the right objective")
ax.plot(x, exact(x, s_t), "k--", label=r"$E[X_0 | X_t = x]$")
ax.plot(x, exact(x, s_t) + x, "k:", label=r"$E[X_0 | X_t = x] + x$")
ax.set(xlabel="x", ylabel="h(x)")
ax.legend(frameon=False)
plt.show()

h = exact(x_t, s_t)
for objective, sign in ((printed, 1), (right, -1)):
    mean, error = mean_and_error(objective(h) - objective(h + x_t))  # on the same samples
    print(f"{objective.__name__:7} objective: J(E[X_0|X_t]) - J(E[X_0|X_t] + x_t) = {mean:+.3f} ± {error:.3f}")
    assert sign * mean > 100 * error

# %% [markdown]
# The printed objective is minimised by $\mathbb{E}[\mathbf{X}_0 \mid \mathbf{X}_t] + \mathbf{x}_t$. **Why.** The objective is a
# regression on $\mathbf{x}_{t_n}$, so its minimiser makes the other terms equal to
# $\mathbb{E}[\mathbf{X}_{t_n} \mid \mathbf{X}_t]$. Tweedie's formula, used twice, gives this mean in two forms, which are equal:
#
# $$\mathbb{E}[\mathbf{X}_{t_n} \mid \mathbf{x}_t] =
# \frac{\sigma_t^2 - \sigma_{t_n}^2}{\sigma_t^2} (\mathbb{E}[\mathbf{X}_0 \mid \mathbf{x}_t] - \mathbf{x}_t) + \mathbf{x}_t =
# \frac{\sigma_t^2 - \sigma_{t_n}^2}{\sigma_t^2} \mathbb{E}[\mathbf{X}_0 \mid \mathbf{x}_t] +
# \frac{\sigma_{t_n}^2}{\sigma_t^2} \mathbf{x}_t .$$
#
# The printed objective (repeated in Theorems 3.4 and A.6) has the bracket of the first form and the last term of the second. The
# right one has the second form, with $\mathbf{h}_\theta$ for $\mathbb{E}[\mathbf{X}_0 \mid \mathbf{x}_t]$ (the function `right`).
#
# ## 2. Lemma A.2: a trailing $+ \mathbf{x}_t$
#
# Equation (A.9), repeated as (A.12), reads
#
# $$\mathbb{E}[\mathbf{X}_0 | \mathbf{X}_t = \mathbf{x}_t] = \frac{\sigma_t^2}{\sigma_t^2 - \sigma_{t_n}^2}
# \mathbb{E}[\mathbf{X}_{t_n} | \mathbf{X}_t = \mathbf{x}_t] -
# \frac{\sigma_{t_n}^2}{\sigma_t^2 - \sigma_{t_n}^2} \mathbf{x}_t + \mathbf{x}_t .$$
#
# Samples alone can test it. The equation is linear in the two means and in $\mathbf{x}_t$. So it must also hold for the averages
# of $X_0$, $X_{t_n}$ and $X_t$ over all samples whose $X_t$ lies in an interval.

# %%
a, b = s2_t / (s2_t - s2_n), s2_n / (s2_t - s2_n)
print("left side minus right side of (A.9)\nX_t in           as printed         without + x_t")
for low in (-2.5, -1.5, -0.5, 0.5, 1.5):
    inside = (x_t > low) & (x_t < low + 1)
    as_printed = mean_and_error((x_0 - (a * x_n - b * x_t + x_t))[inside])
    without = mean_and_error((x_0 - (a * x_n - b * x_t))[inside])
    print(f"({low:4}, {low + 1:4})   {as_printed[0]:+.3f} ± {as_printed[1]:.3f}     {without[0]:+.3f} ± {without[1]:.3f}")
    assert abs(without[0]) < 4 * without[1]
    assert abs(as_printed[0]) > 100 * as_printed[1] or low == -0.5  # the interval around 0

# %% [markdown]
# The printed equation is wrong by about $\mathbf{x}_t$, more than 100 standard errors. Only the interval around 0 does not show
# it, because the average of $x_t$ is small there. **Why.** With $a = \sigma_t^2 / (\sigma_t^2 - \sigma_{t_n}^2)$ and
# $b = \sigma_{t_n}^2 / (\sigma_t^2 - \sigma_{t_n}^2)$, the second form above gives the right equation,
# $\mathbb{E}[\mathbf{X}_0 \mid \mathbf{x}_t] = a \mathbb{E}[\mathbf{X}_{t_n} \mid \mathbf{x}_t] - b \mathbf{x}_t$. The first form
# gives $a (\mathbb{E}[\mathbf{X}_{t_n} \mid \mathbf{x}_t] - \mathbf{x}_t) + \mathbf{x}_t$, which does end in $\mathbf{x}_t$. The
# printed equation mixes the two again.
#
# ## 3. SURE: the square of the divergence
#
# Section 2.2 gives Stein's unbiased risk estimate (SURE), and a Monte Carlo estimate of the divergence, as
#
# $$\begin{gathered} J_{\text{SURE}}(\theta) = \mathbb{E}_{\mathbf{x}_{t_n} \sim p_{t_n}} \left[
# \|\mathbf{h}_\theta(\mathbf{x}_{t_n}) - \mathbf{x}_{t_n}\|^2 +
# 2\sigma_{t_n}^2 (\nabla_{\mathbf{x}} \cdot \mathbf{h}_\theta(\mathbf{x}_{t_n}))^2 \right], \\
# (\nabla_{\mathbf{x}} \cdot \mathbf{h}_\theta(\mathbf{x}_{t_n}))^2 \approx \mathbf{z}^T
# \left(\frac{\mathbf{h}_\theta(\mathbf{x}_{t_n} + \epsilon \mathbf{z}) -
# \mathbf{h}_\theta(\mathbf{x}_{t_n})}{\epsilon} \right). \end{gathered}$$
#
# We take $d = 5$ independent coordinates and the denoisers $\mathbf{h}(\mathbf{x}) = c \mathbf{x}$, whose divergence is $c d$.
# Our clean samples give the risk $\mathbb{E}\|\mathbf{h} - \mathbf{X}_0\|^2$ itself.

# %%
d, c = 5, torch.linspace(0, 1, 51, dtype=torch.float64)
clean, noisy = x_0.reshape(-1, d), x_n.reshape(-1, d)  # (N,) -> (N / 5, 5)
risk = torch.stack([(each * noisy - clean).square().sum(1).mean() for each in c])
distance = torch.stack([(each * noisy - noisy).square().sum(1).mean() for each in c])
sure_printed, sure = distance + 2 * s2_n * (c * d) ** 2, distance + 2 * s2_n * (c * d) - d * s2_n

figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for values, style, name in ((risk, "k-", "risk"), (sure, "C0--", "SURE, right"), (sure_printed, "C1-", "SURE as printed")):
    lowest = int(values.argmin())
    ax.plot(c, values, style, lw=2, marker="o", markevery=[lowest], label=f"{name}: least at c = {c[lowest]:.2f}")
ax.set(xlabel="c, for h(x) = c x", ylabel="mean", ylim=(0, 25))
ax.legend(frameon=False)
plt.show()

# %%
best, z = c[risk.argmin()], torch.randn(noisy.shape, generator=source, dtype=torch.float64)
gap = (best * noisy - noisy).square().sum(1) + 2 * s2_n * best * d - d * s2_n - (best * noisy - clean).square().sum(1)
monte_carlo = (z * (best * (noisy + 1e-3 * z) - best * noisy) / 1e-3).sum(1)
for name, values, claimed in (("SURE minus risk", gap, 0), ("Monte Carlo estimate", monte_carlo, best * d)):
    mean, error = mean_and_error(values)
    print(f"{name} at c = {best:.2f}: {mean:.3f} ± {error:.3f}, expected {claimed:.3f}")
    assert abs(mean - claimed) < 4 * error
print(f"the square of the divergence would be {(best * d) ** 2:.3f}")

# %% [markdown]
# The printed objective chooses a $c$ that is far too small. With the first power, the mean of the estimate is the risk:
#
# $$\mathbb{E}\|\mathbf{h}(\mathbf{X}_{t_n}) - \mathbf{X}_0\|^2 = \mathbb{E}\left[\|\mathbf{h}(\mathbf{X}_{t_n}) -
# \mathbf{X}_{t_n}\|^2 + 2 \sigma_{t_n}^2 \nabla \cdot \mathbf{h}(\mathbf{X}_{t_n})\right] - d \sigma_{t_n}^2 .$$
#
# **Why.** Insert $\mathbf{X}_0 = \mathbf{X}_{t_n} - \sigma_{t_n} \mathbf{Z}$ and expand the square. The cross term follows from
# Stein's lemma, $\mathbb{E}[\mathbf{Z} \cdot \mathbf{f}(\mathbf{X}_{t_n})] = \sigma_{t_n} \mathbb{E}[\nabla \cdot \mathbf{f}]$,
# with a first power. The Monte Carlo estimate is also one of the first power. A program that uses it minimises the right loss:
# the term $- d \sigma_{t_n}^2$, which the paper leaves out, is a constant, so it does not move the minimum.
#
# ## 4. The two-sample estimator: a wrong time
#
# Section 3.2 estimates a squared norm from two independent samples of $p_\theta(\cdot \mid \mathbf{x}_{t'}, t')$:
#
# $$\begin{aligned} & \left| \left| \mathbf{h}_\theta(\mathbf{x}_{t'}, t') - \mathbb{E}_{\mathbf{x}_{t''} \sim
# p_\theta(\mathbf{x}_{t''}, t'' | \mathbf{x}_{t'}, t')} [\mathbf{h}_\theta(\mathbf{x}_{t''}, t'')] \right| \right|^2 \\
# & \approx (\mathbf{h}_\theta(\mathbf{x}_{t''}^1, t'') - \mathbf{h}_\theta(\mathbf{x}_{t'}, t'))^T
# (\mathbf{h}_\theta(\mathbf{x}_{t''}^2, t'') - \mathbf{h}_\theta(\mathbf{x}_{t'}, t'')). \end{aligned}$$
#
# The last factor has $t''$ where $t'$ should be. Let the data now be $\mathcal{N}(0, 1)$, so that the reverse step is known
# exactly: $\mathbb{E}[X_0 \mid X_t = x] = x / (1 + \sigma_t^2)$, and given $X_{t'} = x$, $X_{t''}$ is Gaussian with mean
# $\rho x$ and variance $\rho (\sigma_{t'}^2 - \sigma_{t''}^2)$, where $\rho = (1 + \sigma_{t''}^2) / (1 + \sigma_{t'}^2)$. (This
# is linear regression of $X_{t''}$ on $X_{t'}$, which is $X_{t''}$ plus noise.) The denoiser stays exact at $t'$, and with it the
# step. At $t''$ we try $h(x, t'') = c x$. Only the exact $c = 1 / (1 + \sigma_{t''}^2)$ makes the squared norm 0.

# %%
s_1, s_2, pairs = 0.8, 0.5, 100_000  # sigma at t' and at t''
rho, c_1, c_exact = (1 + s_2**2) / (1 + s_1**2), 1 / (1 + s_1**2), 1 / (1 + s_2**2)
z = torch.randn(3, pairs, generator=source, dtype=torch.float64)
x_1 = (1 + s_1**2) ** 0.5 * z[0]  # X_t'
first, second = rho * x_1 + (rho * (s_1**2 - s_2**2)) ** 0.5 * z[1:]  # two draws of X_t'' given X_t'


def estimator(c, as_printed):
    """The product of the two factors, (N,), for h(x, t') = c_1 x and h(x, t'') = c x."""
    return (c * first - c_1 * x_1) * (c * second - (c if as_printed else c_1) * x_1)


figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
grid = c_exact + torch.linspace(-0.5, 0.5, 11, dtype=torch.float64)
ax.plot(grid, (grid * rho - c_1) ** 2 * (1 + s_1**2), "k--", label="the squared norm, exactly")
for as_printed, colour, name in ((True, "C1", "as printed"), (False, "C0", "with t' in both factors")):
    means, errors = zip(*(mean_and_error(estimator(each, as_printed)) for each in grid), strict=True)
    ax.errorbar(grid, means, errors, fmt="o", color=colour, label=name)
ax.axvline(c_exact, color="grey", lw=0.8)
ax.set(xlabel="c, for h(x, t'') = c x (grey: the exact denoiser)", ylabel="mean of the estimator")
ax.legend(frameon=False)
plt.show()
mean, error = mean_and_error(estimator(grid[8], as_printed=True))
print(f"as printed, at c = {grid[8]:.2f}: {mean:.3f} ± {error:.3f}, a negative estimate of a square")

# %% [markdown]
# The right estimator follows the squared norm. The printed one has the mean 0 at the exact denoiser, but not a minimum: it
# becomes negative, and a descent on $c$ never stops. **Why.** Let
# $m = \mathbb{E}[\mathbf{h}(\mathbf{X}_{t''}, t'') \mid \mathbf{x}_{t'}] - \mathbf{h}(\mathbf{x}_{t'}, t')$. Given
# $\mathbf{x}_{t'}$ the two samples are independent, so the mean of the product is the product of the means. With
# $\mathbf{h}(\mathbf{x}_{t'}, t')$ in both factors it is $\|m\|^2$. As printed it is
# $m \cdot (m + \mathbf{h}(\mathbf{x}_{t'}, t') - \mathbf{h}(\mathbf{x}_{t'}, t''))$. In our example this is
# $(\rho c - 1 / (1 + \sigma_{t'}^2)) (\rho - 1) c x_{t'}^2$ with $\rho < 1$, which has no minimum in $c$.

# %% [markdown]
# ## Exercises
#
# **1. Two misprints that agree.** In the proof of Theorem 3.1, (A.17) says that at the minimiser $\mathbf{h}_{\theta^*}$ the
# terms before $-\mathbf{x}_{t_n}$ in the printed objective are equal to
# $\mathbb{E}[\mathbf{X}_{t_n} | \mathbf{X}_t = \mathbf{x}_t]$. The proof then uses (A.12). Show that the printed (A.17) and
# (A.12) are the same statement. What follows for proofreading?

# %% [markdown]
# <details><summary>Answer</summary>
#
# Solving (A.17) for $\mathbf{h}_{\theta^*}$ gives the right side of the printed (A.12). The printed proof is consistent with
# itself, so reading it once more does not find the error. An experiment finds it, because it compares the formula with samples.
#
# ```python
# mean_n = (s2_t - s2_n) / s2_t * exact(x, s_t) + s2_n / s2_t * x  # E[X_n | X_t = x]
# h_printed = a * mean_n - b * x + x  # the right side of (A.12)
# assert ((s2_t - s2_n) / s2_t * (h_printed - x) + s2_n / s2_t * x - mean_n).abs().max() < 1e-12  # (A.17) holds
# assert (h_printed - exact(x, s_t) - x).abs().max() < 1e-12  # and both are wrong by x
# ```
#
# </details>

# %% [markdown]
# **2. SURE in many dimensions.** Which $c$ minimises the printed SURE for $\mathbf{h}(\mathbf{x}) = c \mathbf{x}$ as $d$ grows?

# %% [markdown]
# <details><summary>Answer</summary>
#
# With $m = \mathbb{E}[X_{t_n}^2]$ of one coordinate, the printed objective is $d m (c - 1)^2 + 2 \sigma_{t_n}^2 d^2 c^2$. Its
# minimum, $c = m / (m + 2 \sigma_{t_n}^2 d)$, tends to 0 as $d$ grows: an image becomes empty.
#
# ```python
# m = (noisy**2).mean()
# assert abs(m / (m + 2 * s2_n * d) - c[sure_printed.argmin()]) < 0.02  # the minimum of the figure, on its grid
# assert m / (m + 2 * s2_n * 3 * 64 * 64) < 0.0002  # 64 x 64 pixels in three colours
# ```
#
# </details>

# %% [markdown]
# **3. A test that cannot fail.** Somebody evaluates the printed two-sample estimator at the exact denoiser, finds the mean 0
# within its standard error, and concludes that the formula is right. Why does this test prove nothing? Find a better one.

# %% [markdown]
# <details><summary>Answer</summary>
#
# At the exact denoiser the first factor has mean 0 given $x_{t'}$. The two samples are independent given $x_{t'}$, so the product
# has mean 0 whatever function of the second sample and $x_{t'}$ the second factor is. A test needs a denoiser that is wrong by a
# known amount. Tutorial 4 calls a wrong formula that a test must reject a *mutant*.
#
# ```python
# mean, error = mean_and_error(estimator(c_exact, as_printed=True))
# assert abs(mean) < 4 * error  # the useless test passes
# c_wrong = c_exact + 0.4
# norm = (c_wrong * rho - c_1) ** 2 * (1 + s_1**2)
# of_right, of_printed = (mean_and_error(estimator(c_wrong, as_printed)) for as_printed in (False, True))
# assert abs(of_right[0] - norm) < 4 * of_right[1]  # the right formula passes the better test
# assert abs(of_printed[0] - norm) > 10 * of_printed[1]  # the printed one does not
# ```
#
# </details>

# %% [markdown]
# ## Next
#
# [Tutorial 6](06_pictures.ipynb) leads from points to pictures. The four misprints are among the wrong formulas that the property
# tests of this repository must reject, with quadrature in place of samples. Read `theory_checks/test_ambient_printed.py`,
# `theory_checks/test_double_tweedie.py`, `theory_checks/test_sure.py` and `theory_checks/test_estimators.py` now.
