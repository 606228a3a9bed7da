"""The words of the image reports, in the notation that `page.rich` reads; {numbers} come from the run."""

from __future__ import annotations

from typing import Any

PROBLEM = """
A diffusion model learns to draw by learning to undo noise. It is shown clean images and noisy copies of them, and learns the
best guess of the one from the other; from such guesses, made at less and less noise, it then draws images of its own.

**{opening}** There are {count:,} {what}, {size} x {size} pixels each, between -1 (white) and
1 (black). {noise} The standard deviation of the noise is {ratio:.2g}, which is {share:.2g} times that of a pixel from one
clean image to the next. **The methods get {given}, nothing else.** Can they learn to
draw clean ones?
"""

ALL_NOISY = {
    "opening": "But here nobody has a clean image.",
    "given": "the noisy images and the strength of the noise",
    "each": "Each",
}
SOME_CLEAN = {
    "opening": "But here only {clean:,} of {count:,} images are clean.",
    "given": "these images and for each the strength of its noise, 0 for the clean ones",
    "each": "Each of the others",
}
NOISE_ONCE = "{each} has been covered with Gaussian noise, once, before anything else happened; the clean one was put away."
NOISE_AFRESH = "{each} is covered with Gaussian noise, anew whenever it is drawn; the clean one is never shown."
NOISED = {False: "noised once", True: "noised anew whenever drawn"}  # by --fresh-noise
IMAGES = {
    "digits": "real images",
    "smooth": "images of a smooth world (a Gaussian mixture fitted to real ones, so that every best guess is known exactly)",
    "empirical": "draws from a set of real images, so that every best guess is known exactly (it is an average over that set)",
}

POINTS = """
To the mathematics an image is a point X_0 with {dim} coordinates, one a pixel.
"""
SDXL_SIGNAL = " The levels are the 1,000 of SDXL's schedule: a_t falls from 1 to 0.07, and a_t^2 + s_t^2 = 1."

RESTORED = """
The best guess E[X_0 | X_t] is an average over all clean images that the noisy one may come from. Where that leaves a choice,
between a 4 and a 9 say, it is grey: blurred is not wrong here, and no method can be both sharp and right on average.
"""

DRAWN = """
To draw, a model starts from pure noise and takes many small steps, each to its current guess of a little less noise. All the way
down to the data's level n its guesses can be as good as those of a model trained on clean images. *Early stop* ends there, with
one best guess: an average, and blurred. The others go on below n.
"""

BELOW = """
{data} What a method can use is what it learned at n and above, the demand to agree with itself (second idea),
and how its network extrapolates. {skip}
"""

BELOW_ALL_NOISY = """At levels below n there is not one training image: nobody has seen a digit with so little noise. Nothing in
the data says directly how to go on."""
BELOW_SOME_CLEAN = "At levels below n there are the {clean:,} clean images alone, and a few images are soon learned by heart."

SKIPS = {
    "mixture": """The networks here start from a *mixture of Wiener filters*, fitted to {these} alone, and learn what is
missing; that filter is a method of its own in the table.""",
    "wiener": "The networks here start from the *Wiener filter*, the best linear one, and learn what is missing.",
    "scalar": "The networks here start from a multiple of the noisy image, with no knowledge of digits at all.",
}

HIDDEN = """
How much is there to be found? In {visible} of the {dim} directions in which the clean images differ, which hold {share:.1f} %
of their variance, that variance exceeds s_n^2 sqrt(D / N). In the others the noise of N = {count:,} images varies as much by
chance alone, and not even the covariance of the clean images can be read off{noisy}.
"""

MEASURE_KNOWN = """
The error of a denoiser h at level s is its squared distance from the exact answer h^*, in units of the error that even h^* cannot
avoid: nE(s) = E|h - h^*|^2 / E|X_0 - h^*|^2. Its mean over {below} of the data's noise is the *sub-n mean*.
"""
MEASURE_ORACLE = """
The exact answer is unknown for real images. What can be measured is the squared distance from the clean image, on
{points:,} that were held out; most of it no method can avoid. So the table gives the *excess* over the **oracle**, the same
network with the same budget, trained on clean images: 0.05 is 5 % more. It may be negative: the oracle is only a network.
"""
MEASURE_MSE = """
The exact answer is unknown for real images. What can be measured is the squared distance per pixel from the clean image, on
{points:,} that were held out; most of it no method can avoid. Add the method `oracle` to see how much.
"""
MEASURE_SAMPLES = """
**FD**, the Frechet distance, compares {samples:,} drawn images with real ones held out, in the features of a small classifier.
Of {others:,} other real ones it is {floor:.2f}; that is as low as it gets.
"""
NO_LABELS = "The images have no labels, so there is no classifier to take features from, and no Frechet distance."

RESTORED_ONLY = " Noisier2noise is no diffusion model and draws nothing; shown are noisy images of the data, restored."

CAPTIONS = {
    "data": """
What there is to learn from. Above: training images before the noise{away}. Below: the same ones as the methods see them.
In all pictures pixels beyond -1 and 1 are clipped.""",
    "restored": """
Held-out images with noise of the data's own strength, and each method's best guess of the clean one. What has a star uses
clean data or the truth, for reference.""",
    "samples": """
Images that each method draws from pure noise, the first {sheet} as they come, beside real ones, and the data as they are.
Look at the strokes (sharp or grey?) and at the ground between them (white or grainy?).""",
    "errors": """
Error against noise level, right of the line at levels that the data reaches, left of it at levels where there
{below}. Where lines coincide, those beneath are drawn wider; shades are standard errors, where there are several seeds.""",
    "training": "The loss of each network. Losses are not comparable with each other.",
}


def noised(config: dict[str, Any]) -> str:
    """How the training images came by their noise."""
    but = f", but for {100 * config['clean_share']:.2g} % that are clean" if config["clean_share"] else ""
    return NOISED[config["fresh_noise"]] + but
