"""The words of the report, in the notation that `page.rich` reads; {numbers} come from the run."""

PAPER = "Daras, Dimakis and Daskalakis, *Consistent Diffusion Meets Tweedie*, 2024"

PROBLEM = """
A diffusion model learns to undo noise: shown clean points and noisy copies of them, again and again, it learns the best guess
of the one from the other, and from those guesses it makes new points. But what if nobody has ever seen a clean point? A
scanner, a telescope or a private data set may hand out nothing but noisy ones, each seen once.

Here is such a world, small enough that the truth is known in closed form: {title}. Every point comes with Gaussian noise of
standard deviation s_n = {level:.3g}, which is {relative:.2g} of the distance d between the two nearest groups. **The methods
see the noisy points and the value of s_n, nothing else.** The truth is for scoring.
"""

OWN_DATA = """
{count:,} noisy points with {dim} coordinates, and {held_out:,} more held out. The largest standard deviation of their noise is
{level:.3g} in your units, or {share:.2g} of what is estimated for the clean data itself. The methods, and the figures here, work
on points that are centred and scaled to unit variance on average; `samples.csv` has what they generate in your units.
"""

TWEEDIE = """
Add *more* noise to the noisy points, up to some level t. A network can learn to predict the noisy point X_n from the noisier
X_t: both are at hand. Tweedie's formula ties the best guess of *any* cleaner version to one and the same thing, the slope of
the noisy density. Written once for X_n and once for the clean X_0, that slope drops out:
"""

TWEEDIE_SYMBOLS = """
X_t = a_t X_0 + s_t Z at every level t, with Z standard normal; n is the level of the data; r = a_t / a_n; and q^2 = s_t^2 -
r^2 s_n^2 is the variance of the noise added on the way from n to t.{path}
"""

UNIT_SIGNAL = " Here a_t = 1 at every level."

AMBIENT = """
So a network h that takes the place of E[X_0 | X_t], and is trained to make the right side predict X_n, has the **exact clean
guess** as its only optimum at every t above n{unshown}. This is the *ambient loss*. At t = n the printed form says nothing
(q = 0); the antithetic form that ours uses becomes Stein's unbiased estimate of the error there. {below}
"""

ALL_NOISY = {
    "unshown": ", though no clean point was shown",
    "below": "Below n there are no data: sampling must stop, or extrapolate.",
    "few": "no",
}
SOME_CLEAN = {
    "unshown": "",
    "below": """For a clean point n is 0 and the loss is the usual one, at every level; below the noise of the others it has the
clean points alone.""",
    "few": "few",
}

MARTINGALE = """
Take a noisy point and follow the model's own steps down to less noise. The guess of the clean point will move, but on average
it must not drift: if one knew in advance where it goes, it should have been there already. The guess h is a martingale along
its own reverse process:
"""

CONSISTENT = """
This can be trained at levels where {few} data exist, because the model makes the points itself. The paper's theorem: a denoiser
that is right above n, consistent below, leaves clean points alone (h(x, 0) = x) and follows the slope of some density is right
**everywhere**. Consistency alone is not enough: the linear filter is perfectly consistent, and wrong.
"""

MEASURE = """
The error of a denoiser h at level s is its squared distance from the exact answer h^*, in units of the error that even h^* cannot
avoid: nE(s) = E|h - h^*|^2 / E|X_0 - h^*|^2. Its mean over {below} of the data's noise is the *sub-n mean*.
"""

TABLE = """
{star}All networks are alike and have the same budget of
evaluations: samples passed through the network, in millions.
"""

WALL = """
"Exact" is a statement about the minimiser of a loss, over all functions and with endless data. It says nothing about how much
of the truth is still visible in the data. Noise blurs: a pattern that repeats at distance d keeps, in the density of the
noisy points, exp(-2 pi^2 s_n^2 / d^2) of its strength. Here that is {here:.2g}; at twice the noise it would be {twice:.1g}.
What N points show of it drowns once it falls to about 1/sqrt(N), and no method, trained or not, gets it back.
"""

DECONVOLUTION = """
The grid deconvolution sees the same data, needs no network, and is stopped with the truth in hand: it marks what could be had.
"""

NO_WALL = "This run did not measure it: smoke runs leave it out, and worlds of more than two dimensions have no grid for it."

KNOWABLE = """
**The error at and above the data's noise.** The ambient loss on held-out points estimates it without bias: the *held-out
risk*, in units of the data's variance. Lower is better.

**Whether a denoiser contradicts itself below it.** The *inconsistency* is the size of the drift. Above 0, it is wrong; at 0
it may still be.

**Whether the samples fit once they are noised again.** They must then look like the held-out data. The distance has a floor,
shown dashed: that of noisy data to other noisy data.

**What cannot be known:** the error below the noise. Clean distributions that differ can give noisy points that no test on so
many of them tells apart.
"""

CAPTIONS = {
    "samples": """
The clean points, the noisy ones, and what each method makes of the noisy ones; the black outline is the truth. SW2 is
the sliced Wasserstein distance to clean points: 0 is perfect, and finite samples never reach it. What has a star in the
table uses the truth, for reference.""",
    "own samples": """
The noisy points, and what each method makes of them. Early stop is the cautious answer: best guesses of clean points,
too narrow by what the noise has hidden. Going on below the noise draws whole points; how far to trust them is the
question.""",
    "fields": """
Where each denoiser sends a point at *half* the data's noise, a level at which no data exist: h(x) - x. The darker the
ground, the further from the exact answer; it covers 99 % of the noisy points of that level.""",
    "field curves": "Where each denoiser sends a point at *half* the data's noise, a level at which no data exist.",
    "errors": """
Error against noise level. Right of the line the first idea alone promises 0; left of it the second has to carry the
answer down. The exact denoiser is 0 and not shown. Where lines coincide, those beneath are drawn wider; shades are
standard errors, where there are several seeds.""",
    "wall": """
Above: what is recovered as the noise grows, here with a coarser grid and fewer steps than in the table. Below: what is left to
recover it from; dashed, the strength that chance alone has in N points. The vertical line is this run.""",
    "without_truth": "Bars are standard errors: over held-out points for one seed, over seeds for several.",
    "training": "The loss of each network. Losses are not comparable with each other.",
}
