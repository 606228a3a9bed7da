"""What an attack shows about memory: how near the results are to training digits, and how models differ.

The unit is the digit: its results are averaged over draws and seeds. Intervals (95 %) are over digits, as in `harness.copying`;
standard errors are over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness import copying, statistics
from harness.cache import Arrays
from harness.copying import CLOSE, COPY
from harness.neighbours import nearest
from toy.images.attack import GROUPS, KINDS, KNOWN
from toy.images.classifier import Features, similarity
from toy.report.table import over_seeds

Models = Mapping[str, Arrays]  # the arrays of an attack by model, with one more axis in front: seeds


def summarise(models: Models, levels: tuple[float, ...]) -> list[dict[str, Any]]:
    """For each kind of result, level and model: the numbers of both groups, and the memory of the model.

    The numbers of a group are the `similarity` to its nearest digit, the shares `close` and `copies`, the share whose nearest
    digit is the one attacked, `itself`, and the mean square `error` from that digit. `memory` is the similarity of training
    digits less that of held-out ones, 0 for a model that has seen neither. `across` is the similarity of attacked held-out
    digits to the nearest training digit.
    """
    found = []
    for kind, results in KINDS.items():
        for i, t in enumerate(levels):
            for name, arrays in models.items():
                near, nearest = (arrays[key][:, i, :, :, results] for key in ("similarity", "nearest"))
                errors = arrays["error"][:, i, :, results]
                groups = {group: _numbers(near[:, j, j], nearest[:, j, j], errors[:, j]) for j, group in enumerate(GROUPS)}
                averaged = near.mean(3)  # over draws: (seeds, attacked, compared with, digits)
                memory, across = compared(averaged[:, 0, 0], averaged[:, 1, 1]), compared(averaged[:, 1, 0])
                found.append({"kind": kind, "t": t, "model": name, **groups, "memory": memory, "across": across})
    return found


def differences(models: Models, levels: tuple[float, ...]) -> list[dict[str, Any]]:
    """For each kind, level and noisy-trained model: the similarity of the clean-trained network's results less the model's.

    Results are paired by digit and noise; `training` and `held out` are each compared with their own group. `memory` is the
    difference of the two: a model that is merely worse loses as much on digits that neither model has seen.
    """
    found = []
    for kind, results in KINDS.items():
        for i, t in enumerate(levels):
            for name in models:
                if name not in ("oracle", *KNOWN):
                    clean, noisy = (models[m]["similarity"][:, i, :, :, results].mean(3) for m in ("oracle", name))
                    training, held_out = ((clean - noisy)[:, j, j] for j in range(len(GROUPS)))
                    numbers = {"training": compared(training), "held out": compared(held_out)}
                    found.append({"kind": kind, "t": t, "model": name, **numbers, "memory": compared(training, held_out)})
    return found


def baselines(features: Features, training: Tensor, held_out: Tensor) -> dict[str, Any]:
    """Of the digits themselves: similarity of training digits to the nearest other one, and of held-out digits; variance."""
    known = features(training)
    to_others = nearest(known, known, own=torch.arange(len(known))).first().similarity
    found = {"training": to_others, "held out": similarity(features(held_out), known)[0]}
    described = {}
    for group, x in found.items():
        values = x.numpy()[None]
        described[group] = {"median": float(x.median()), "similarity": compared(values), **_shares(values[:, None])}
    return {**described, "variance": float((held_out - training.mean(0)).square().mean())}


def shares_of_bins(values: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of similarities (seeds, draws, digits) by bin, with the ends of their intervals. The end bins take all beyond."""
    where = np.digitize(values.clip(edges[0], edges[-1] - 1e-9), edges) - 1
    shares = np.stack([(where == k).mean((0, 1)) for k in range(len(edges) - 1)], 1)  # (digits, bins)
    draws = statistics.resampled(torch.from_numpy(shares), seed=0, stream="images")
    low, high = (end.numpy() for end in statistics.between_quantiles(draws))
    return shares.mean(0), low, high


def compared(values: np.ndarray, less: np.ndarray | None = None) -> dict[str, Any]:
    """Mean of numbers (seeds, digits), less that of other digits: standard error over seeds, interval over digits."""
    ours = torch.from_numpy(values.mean(0, dtype=np.float64))
    if less is None:
        return copying.mean(ours, seed=0) | _over_seeds(values.mean(1))
    theirs = torch.from_numpy(less.mean(0, dtype=np.float64))
    return copying.difference(ours, theirs, seed=0) | _over_seeds(values.mean(1) - less.mean(1))


def _numbers(near: np.ndarray, nearest: np.ndarray, errors: np.ndarray) -> dict[str, Any]:
    """The numbers of one group, from arrays (seeds, results, digits)."""
    itself = nearest == np.arange(nearest.shape[-1])
    means = {"similarity": near, "itself": itself, "error": errors}
    return {name: _over_seeds(values.mean((1, 2))) for name, values in means.items()} | _shares(near)


def _shares(near: np.ndarray) -> dict[str, Any]:
    """The shares of similarities (seeds, results, digits) above the two thresholds."""
    seeds, results, _ = near.shape
    values = copying.of_images(torch.from_numpy(np.ascontiguousarray(near)).flatten(0, 1).T)
    found = {}
    for i, (name, bound) in enumerate((("close", CLOSE), ("copies", COPY)), 1):
        interval = list(statistics.of_share(values[:, i], samples=seeds * results))
        found[name] = {"interval": interval, **_over_seeds((near > bound).mean((1, 2)))}
    return found


def _over_seeds(values: np.ndarray) -> dict[str, Any]:
    return over_seeds(values.tolist()) or {}
