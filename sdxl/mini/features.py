"""Features of small pictures, for distances and similarities: module:sdxl.mini.features:letters.

They are the 64 features of the classifier that the package ships with the mini model: it was trained on letters, names their
colours too, and redraws each picture. So they are to letters and digits of 32 x 32 pixels what those of Inception are to
photographs. They mean little for any other picture.
"""

from __future__ import annotations

from safetensors.torch import load
from torch import Tensor, nn
from torch.nn import functional

from sdxl.images.sheets import from_bytes
from sdxl.mini import shipped
from sdxl.mini.classifier import Classifier
from sdxl.mini.glyphs import SIZE


class Features(nn.Module):
    """uint8 pictures (B, 3, H, W) -> their features (B, 64)."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, pictures: Tensor) -> Tensor:
        pixels = from_bytes(pictures)
        if pixels.shape[-2:] != (SIZE, SIZE):
            pixels = functional.interpolate(pixels, size=(SIZE, SIZE), mode="bilinear", antialias=True)
        return self.classifier.features(pixels)


def letters() -> Features:
    """The features of the shipped classifier. Raises: UserError if its weights are damaged."""
    classifier = Classifier()
    weights = load(shipped.checked(shipped.CLASSIFIER).read_bytes())
    classifier.load_state_dict({name: value.float() for name, value in weights.items()})
    return Features(classifier)
