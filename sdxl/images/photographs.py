"""Real photographs that scikit-image and scikit-learn ship: enough to rehearse without a network, far too few to learn from.

24 square pictures come from 16 photographs and micrographs. Eight of these give one picture each; the other eight give two crops
each, which do not overlap. Six more pictures, from three other photographs, are held out. The smallest is 172 pixels across.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from harness.errors import UserError


@dataclass(frozen=True)
class Photograph:
    """A square of a photograph; its corner and its side are in pixels."""

    key: str
    of: str  # the name of the photograph in scikit-image or scikit-learn; two squares may share it
    left: int
    top: int
    side: int
    caption: str

    def payload(self) -> bytes:
        """The bytes of an image file without compression: they are the same on every machine."""
        from PIL import Image

        box = (self.left, self.top, self.left + self.side, self.top + self.side)
        stream = io.BytesIO()
        Image.fromarray(_pixels(self.of)).crop(box).save(stream, "PPM")
        return stream.getvalue()


TRAINING = (  # by key
    Photograph("astronaut_face", "astronaut", 130, 0, 200, "the smiling face of an astronaut in an orange suit"),
    Photograph("astronaut_helmet", "astronaut", 262, 262, 250, "a black and white space helmet"),
    Photograph("brick", "brick", 0, 0, 512, "a wall of bricks"),
    Photograph("cat_left", "chelsea", 30, 0, 200, "an ear and an eye of a tabby cat"),
    Photograph("cat_right", "chelsea", 231, 0, 220, "an eye and the nose of a tabby cat"),
    Photograph("cell", "cell", 280, 230, 270, "a bright cell under a microscope"),
    Photograph("coins", "coins", 40, 0, 303, "rows of old Greek coins"),
    Photograph("flower", "flower.jpg", 120, 10, 360, "an orange dahlia before dark leaves"),
    Photograph("grass", "grass", 0, 0, 512, "grass with fallen leaves"),
    Photograph("gravel", "gravel", 0, 0, 512, "gravel"),
    Photograph("hubble_left", "hubble_deep_field", 0, 0, 430, "far galaxies on a black sky"),
    Photograph("hubble_right", "hubble_deep_field", 500, 400, 430, "galaxies on a black sky"),
    Photograph("moon_crater", "moon", 0, 0, 256, "craters on the moon"),
    Photograph("moon_plain", "moon", 128, 256, 256, "a plain of the moon with a dark spot"),
    Photograph("motorcycle_front", "motorcycle_left", 430, 230, 260, "the front wheel of a red motorcycle"),
    Photograph("motorcycle_rear", "motorcycle_left", 60, 180, 300, "the seat and the rear wheel of a motorcycle"),
    Photograph("page", "page", 0, 0, 191, "a printed page"),
    Photograph("pagoda", "china.jpg", 50, 20, 300, "a tall Chinese pavilion among trees"),
    Photograph("pagoda_lake", "china.jpg", 360, 150, 270, "a misty lake behind trees"),
    Photograph("retina_disc", "retina", 60, 400, 500, "the optic disc of a human retina"),
    Photograph("retina_fovea", "retina", 600, 480, 480, "the fovea of a human retina"),
    Photograph("text", "text", 140, 0, 172, "handwriting on a sheet of paper"),
    Photograph("tissue_lower", "immunohistochemistry", 256, 256, 256, "stained tissue, brown glands in a pale field"),
    Photograph("tissue_upper", "immunohistochemistry", 0, 0, 256, "stained tissue, a large brown gland"),
)
HELD_OUT = (  # by key; none of these photographs is among those to train on
    Photograph("cameraman", "camera", 110, 60, 200, "a man looks through a film camera"),
    Photograph("coffee_cup", "coffee", 150, 0, 260, "a cup of coffee on a red saucer"),
    Photograph("coffee_table", "coffee", 420, 180, 180, "a wooden table beside a red saucer"),
    Photograph("launch_tower", "rocket", 0, 60, 200, "a lattice tower at dusk"),
    Photograph("rocket", "rocket", 220, 90, 210, "a white rocket on its launch pad"),
    Photograph("tripod", "camera", 280, 300, 210, "the legs of a tripod on a lawn"),
)


def _pixels(name: str) -> Any:
    """The photograph of this name: uint8, (H, W) or (H, W, 3)."""
    try:
        if name.endswith(".jpg"):
            from sklearn.datasets import load_sample_image

            return load_sample_image(name)
        from skimage import data

        return data.stereo_motorcycle()[0] if name == "motorcycle_left" else getattr(data, name)()
    except ModuleNotFoundError as error:
        if error.name in ("skimage", "sklearn"):
            raise
        raise UserError(f"this scikit-image does not ship the photograph {name}; install another version of it") from error
