"""Regions of images that are worth hiding, found by a detector:

    faces            the cascade of frontal faces of scikit-image: fast, comes with that package, makes some mistakes
    boxes:FILE       your own: CSV or JSON lines with key, x0, y0, x1, y1; or JSON, {key: [[x0, y0, x1, y1], ...]}
    detr:SOURCE      an object detector of transformers (DETR, YOLOS, RT-DETR, ...), by hub id or folder
    center:SHARE     a square in the middle of any image, its side a share of the shorter side

Boxes are in pixels of the image as it is shown, from the left and from the top.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from harness.errors import UserError
from harness.files import digest
from harness.options import nearest
from sdxl.images.crop import scaled
from sdxl.images.rows import Row, loads, readable, rows
from sdxl.model.base import within_memory
from sdxl.model.weights import fetch, fingerprint, load, load_model

Box = tuple[float, float, float, float]  # left, top, right, bottom: pixels of an image
SIDES = ("x0", "y0", "x1", "y1")
WORDS = ("faces", "boxes", "detr", "center")
FILES = ["config.json", "preprocessor_config.json", "model*.safetensors", "model.safetensors.index.json"]
LARGEST = 512  # pixels of the longer side of an image in which faces are looked for
SMALLEST_FACE = 24  # pixels of the side of the faces on which the cascade was trained
FACE_MARGIN = 1 / 8  # of a box, added on each side: the cascade's boxes end at brows and chin
OBJECT_SCORE = 0.5  # the least score of an object
VISIBLE = 0.5  # the least share of a box that the crop leaves
SMALLEST_SIDE, LARGEST_AREA = 1 / 16, 0.9  # of a region, as shares of the picture


class Detector(NamedTuple):
    """`find(image, key)` gives the boxes in a PIL image; detectors that may give others have another `fingerprint`."""

    fingerprint: str
    find: Callable[[Any, str], list[Box]]


class Region(NamedTuple):
    """A part of the square that the model sees: its sides in pixels, multiples of the width of a latent."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """In square pixels."""
        return (self.right - self.left) * (self.bottom - self.top)


def detector(word: str, keys: list[str], *, cut: bool, device: torch.device | str = "cpu") -> Detector:
    """The detector that `word` names. Raises: UserError if it cannot be made.

    Args: keys: of the images; cut: whether these are only the first images, so that a file may have boxes for others.
    """
    kind, _, source = word.partition(":")
    if kind not in WORDS or (kind == "faces") == bool(source):
        forms = "faces, boxes:FILE, detr:SOURCE or center:SHARE"
        raise UserError(f"--detector {word!r} is none of {forms}{nearest(kind, WORDS) if kind not in WORDS else ''}")
    if kind == "center":
        return _center(source)
    if kind == "boxes":
        return _listed(Path(source), keys, cut)
    return _faces() if kind == "faces" else _objects(source, device)


def regions_of(boxes: list[Box], size: tuple[int, int], resolution: int, cell: int) -> list[Region]:
    """The regions of boxes in the square that `crop.fit` cuts from an image, grown to whole latents.

    A box is dropped if less than half of it is in the square, if it is small, or if it leaves nearly nothing visible.

    Args: size: width and height of the image; resolution: pixels of a side of the square; cell: pixels of a side of a latent.
    """
    width, height = scaled(size, resolution)
    left, top = int(0.5 * (width - resolution)), int(0.5 * (height - resolution))
    regions = []
    for x0, y0, x1, y1 in boxes:
        xs, ys = [x * width / size[0] - left for x in (x0, x1)], [y * height / size[1] - top for y in (y0, y1)]
        (a, c), (b, d) = ([min(max(end, 0), resolution) for end in ends] for ends in (xs, ys))
        area = (xs[1] - xs[0]) * (ys[1] - ys[0])
        if (c - a) * (d - b) < VISIBLE * area or min(c - a, d - b) < max(2 * cell, SMALLEST_SIDE * resolution):
            continue
        region = Region(_rounded_down(a, cell), _rounded_down(b, cell), -_rounded_down(-c, cell), -_rounded_down(-d, cell))
        if region.area <= LARGEST_AREA * resolution**2:
            regions.append(region)
    return regions


def _rounded_down(x: float, cell: int) -> int:
    """x rounded down to a multiple of `cell`, but not for a rounding error below a multiple."""
    return cell * math.floor(x / cell + 1e-6)


def _center(share: str) -> Detector:
    try:
        part = float(share)
        if not 0 < part < 1:
            raise ValueError
    except ValueError as error:
        raise UserError(f"center:SHARE is a share of the shorter side, between 0 and 1; got {share!r}") from error

    def find(image: Any, key: str) -> list[Box]:
        (width, height), half = image.size, part * min(image.size) / 2
        return [(width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)]

    return Detector(f"center {part:g}", find)


def _faces() -> Detector:
    from importlib.metadata import version

    from skimage import data
    from skimage.feature import Cascade

    cascade = Cascade(data.lbp_frontal_face_cascade_filename())

    def find(image: Any, key: str) -> list[Box]:
        scale = min(1.0, LARGEST / max(image.size))
        small = np.asarray(image.resize([max(1, round(scale * side)) for side in image.size]) if scale < 1 else image)
        largest = min(small.shape[:2])
        smallest = max(SMALLEST_FACE, largest // 8)
        if largest <= smallest:
            return []
        faces = cascade.detect_multi_scale(small, 1.2, 1, (smallest, smallest), (largest, largest))
        return [_with_margin(face["c"], face["r"], face["width"], face["height"], scale) for face in faces]

    return Detector(f"faces, scikit-image {version('scikit-image')}", find)


def _with_margin(x: float, y: float, width: float, height: float, scale: float) -> Box:
    """The box of a whole face from one of the cascade, in pixels of the image before it was scaled."""
    wide, high = FACE_MARGIN * width, FACE_MARGIN * height
    return (x - wide) / scale, (y - high) / scale, (x + width + wide) / scale, (y + height + high) / scale


def _objects(source: str, device: torch.device | str) -> Detector:
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    try:
        folder = fetch(source, FILES, example="hustvl/yolos-small")
        model: Any = load_model(AutoModelForObjectDetection, folder, dtype=torch.float32).to(device)
        processor: Any = load(AutoImageProcessor, folder)
        content = fingerprint(folder)
    except UserError as error:
        raise UserError(f"no weights for --detector detr:{source}: {error} (as detr:FOLDER)") from error
    except ImportError as error:  # its message has several lines
        words = " ".join(str(error).split())
        missing = next((name for name in ("torchvision", "timm") if name in words), words)
        raise UserError(f"the detector detr:{source} needs {missing}: install it, or take hustvl/yolos-small") from error

    @torch.no_grad()
    def find(image: Any, key: str) -> list[Box]:
        with within_memory(f"take a smaller detector than detr:{source}"):
            out = model(**processor(images=image, return_tensors="pt").to(device))
        [result] = processor.post_process_object_detection(out, threshold=OBJECT_SCORE, target_sizes=[image.size[::-1]])
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in result["boxes"].cpu().tolist()]

    return Detector(f"objects {content}", find)


def _listed(file: Path, keys: list[str], cut: bool) -> Detector:
    """The boxes in a file. Raises: UserError if it cannot be read, a row is no box, or a key is that of no image."""
    text = readable(file, lambda file: file.read_text(encoding="utf-8-sig"))
    boxes: dict[str, list[Box]] = {}
    for row in _rows(file, text):
        x0, y0, x1, y1 = (row.number(side) for side in SIDES)
        if not (x0 < x1 and y0 < y1):
            raise UserError(f"{row.place}: a box needs x0 < x1 and y0 < y1, in pixels; got {x0:g}, {y0:g}, {x1:g}, {y1:g}")
        boxes.setdefault(row.text("key"), []).append((x0, y0, x1, y1))
    others = [key for key in boxes if key not in set(keys)]
    if others and (not cut or len(others) == len(boxes)):
        raise UserError(
            f"{file} has boxes for {len(others)} keys that no image has (first: {others[0]}{nearest(others[0], keys[:1000])})"
        )
    return Detector(f"boxes {digest(text.encode())}", lambda image, key: boxes.get(key, []))


def _rows(file: Path, text: str) -> list[Row]:
    """A row for each box in a file: its key and its sides. Raises: UserError if the file has another form."""
    ending = file.suffix.lower()
    if ending in (".csv", ".jsonl"):
        return rows(file)
    if ending != ".json":
        raise UserError(f"{file} cannot be read: boxes are read from .csv, .jsonl or .json")
    boxes = readable(file, lambda _: loads(text))
    if not isinstance(boxes, dict) or not all(isinstance(of_key, list) for of_key in boxes.values()):
        raise UserError(f"{file} cannot be read: JSON must be {{key: [[x0, y0, x1, y1], ...]}}")
    listed = [(f"{file}, key {key}, box {i}", key, box) for key, of_key in boxes.items() for i, box in enumerate(of_key, 1)]
    for place, _, box in listed:
        if not isinstance(box, list) or len(box) != len(SIDES):
            raise UserError(f"{place} must be [x0, y0, x1, y1]; got {box!r}")
    return [Row(place, {"key": key, **dict(zip(SIDES, box, strict=True))}) for place, key, box in listed]
