"""Regions of images that are worth hiding, by a detector:

    faces            scikit-image's cascade of frontal faces: quick, ships with it, errs now and then
    boxes:FILE       your own: CSV or JSON lines with key, x0, y0, x1, y1; or JSON, {key: [[x0, y0, x1, y1], ...]}
    detr:SOURCE      an object detector of transformers (DETR, YOLOS, RT-DETR, ...), by hub id or folder
    center:SHARE     a square in the middle, its side a share of the shorter side: finds nothing, needs nothing

Boxes are pixels of the image as it is shown, from the left and from the top.
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
from sdxl.images.rows import finite, loads, readable, rows
from sdxl.model.base import within_memory
from sdxl.model.weights import fetch, fingerprint, load, load_model

Box = tuple[float, float, float, float]  # left, top, right, bottom
SIDES = ("x0", "y0", "x1", "y1")
WORDS = ("faces", "boxes", "detr", "center")
FILES = ["config.json", "preprocessor_config.json", "model*.safetensors", "model.safetensors.index.json"]
LARGEST = 512  # pixels of the longer side of an image in which faces are looked for
WHOLE_FACE = 1 / 8  # of a box, to each side: the cascade's ends at brows and chin
SURE = 0.5  # score of an object
VISIBLE, SMALLEST, MOST = 0.5, 1 / 16, 0.9  # of a box left by the crop; its side, and its area, in shares of the picture


class Detector(NamedTuple):
    """`find(image, key)`: boxes in the pixels of that image. `fingerprint` tells it from any other."""

    fingerprint: str
    find: Callable[[Any, str], list[Box]]


def detector(word: str, keys: list[str], *, cut: bool, device: torch.device | str = "cpu") -> Detector:
    """That of a word. Raises: UserError where it is not to be had.

    cut: `keys`, those of the images, are the first of more, so that a file may speak of others.
    """
    kind, _, source = word.partition(":")
    if kind not in WORDS or (kind != "faces" and not source) or (kind == "faces" and source):
        forms = "faces, boxes:FILE, detr:SOURCE or center:SHARE"
        raise UserError(f"--detector {word!r} is none of {forms}{nearest(kind, WORDS) if kind not in WORDS else ''}")
    if kind == "center":
        return _center(source)
    if kind == "boxes":
        return _listed(Path(source), keys, cut)
    return _faces() if kind == "faces" else _objects(source, device)


def mapped(boxes: list[Box], size: tuple[int, int], resolution: int, cell: int) -> list[tuple[int, int, int, int]]:
    """Boxes of an image (width, height) in the square that `encode.fit` cuts from it, grown to whole latents, `cell` pixels wide.

    Away with those of which less than half is in the square, the small ones, and those that leave next to nothing to see.
    """
    wide, high = scaled(size, resolution)
    left, top = int(0.5 * (wide - resolution)), int(0.5 * (high - resolution))
    found = []
    for x0, y0, x1, y1 in boxes:
        ends = [x * wide / size[0] - left for x in (x0, x1)], [y * high / size[1] - top for y in (y0, y1)]
        (a, c), (b, d) = ([min(max(end, 0), resolution) for end in pair] for pair in ends)
        area = (ends[0][1] - ends[0][0]) * (ends[1][1] - ends[1][0])
        if (c - a) * (d - b) < VISIBLE * area or min(c - a, d - b) < max(2 * cell, SMALLEST * resolution):
            continue
        hole = (_down(a, cell), _down(b, cell), -_down(-c, cell), -_down(-d, cell))
        if (hole[2] - hole[0]) * (hole[3] - hole[1]) <= MOST * resolution**2:
            found.append(hole)
    return found


def _down(x: float, cell: int) -> int:
    """To a multiple of `cell`; a rounding error is no pixel."""
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
        most = min(small.shape[:2])
        least = max(24, most // 8)  # 24: what the cascade was trained on
        if most <= least:
            return []
        seen = cascade.detect_multi_scale(small, 1.2, 1, (least, least), (most, most))
        return [_whole_face(face["c"], face["r"], face["width"], face["height"], scale) for face in seen]

    return Detector(f"faces, scikit-image {version('scikit-image')}", find)


def _whole_face(x: float, y: float, width: float, height: float, scale: float) -> Box:
    more = WHOLE_FACE * width, WHOLE_FACE * height
    ends = x - more[0], y - more[1], x + width + more[0], y + height + more[1]
    return ends[0] / scale, ends[1] / scale, ends[2] / scale, ends[3] / scale


def _objects(source: str, device: torch.device | str) -> Detector:
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    try:
        folder = fetch(source, FILES, example="hustvl/yolos-small")
        model: Any = load_model(AutoModelForObjectDetection, folder, dtype=torch.float32).to(device)
        processor: Any = load(AutoImageProcessor, folder)
        seen = fingerprint(folder)
    except UserError as error:
        raise UserError(f"no weights for --detector detr:{source}: {error} (as detr:FOLDER)") from error
    except ImportError as error:  # of timm or torchvision, in several lines
        words = " ".join(str(error).split())
        missing = next((name for name in ("torchvision", "timm") if name in words), words)
        raise UserError(f"the detector detr:{source} needs {missing}: install it, or take hustvl/yolos-small") from error

    @torch.no_grad()
    def find(image: Any, key: str) -> list[Box]:
        with within_memory(f"take a smaller detector than detr:{source}"):
            out = model(**processor(images=image, return_tensors="pt").to(device))
        [result] = processor.post_process_object_detection(out, threshold=SURE, target_sizes=[image.size[::-1]])
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in result["boxes"].cpu().tolist()]

    return Detector(f"objects {seen}", find)


def _listed(file: Path, keys: list[str], cut: bool) -> Detector:
    """Raises: UserError for what cannot be read, a row that is no box, and keys that no image has."""
    text = readable(file, lambda file: file.read_text(encoding="utf-8-sig"))
    found: dict[str, list[Box]] = {}
    for key, box in _boxes(file):
        found.setdefault(key, []).append(box)
    others = [key for key in found if key not in set(keys)]
    if others and (not cut or len(others) == len(found)):
        raise UserError(
            f"{file} has boxes for {len(others)} keys that no image has (first: {others[0]}{nearest(others[0], keys[:1000])})"
        )
    return Detector(f"boxes {digest(text.encode())}", lambda image, key: found.get(key, []))


def _boxes(file: Path) -> list[tuple[str, Box]]:
    """Key and box of each row. Raises: UserError, which names the file, the row and the field that is none."""
    ending = file.suffix.lower()
    if ending in (".csv", ".jsonl"):
        return [(row.text("key"), _box(row.place, [row.number(side) for side in SIDES])) for row in rows(file)]
    if ending != ".json":
        raise UserError(f"{file} cannot be read: boxes are read from .csv, .jsonl or .json")
    found = readable(file, lambda file: loads(file.read_text(encoding="utf-8-sig")))
    if not isinstance(found, dict) or not all(isinstance(boxes, list) for boxes in found.values()):
        raise UserError(f"{file} cannot be read: JSON must be {{key: [[x0, y0, x1, y1], ...]}}")
    listed = []
    for key, boxes in found.items():
        for number, box in enumerate(boxes, 1):
            place = f"{file}, key {key}, box {number}"
            if not isinstance(box, list) or len(box) != len(SIDES):
                raise UserError(f"{place} must be [x0, y0, x1, y1]; got {box!r}")
            listed.append((key, _box(place, [finite(x, f"{place}: {side}") for side, x in zip(SIDES, box, strict=True)])))
    return listed


def _box(place: str, sides: list[float]) -> Box:
    x0, y0, x1, y1 = sides
    if not (x0 < x1 and y0 < y1):
        raise UserError(f"{place}: a box needs x0 < x1 and y0 < y1, in pixels; got {x0:g}, {y0:g}, {x1:g}, {y1:g}")
    return x0, y0, x1, y1
