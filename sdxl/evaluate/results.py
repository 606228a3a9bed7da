"""The content of results.json of each evaluation, for `python -m sdxl figures` and for other programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sdxl.evaluate.distances.measure import Floor


@dataclass(frozen=True, kw_only=True)
class Results:
    """`config`: the options; `identity`: what the numbers depend on, images and weights by their content."""

    remedy: ClassVar[str] = "run the same `python -m sdxl evaluate` again"
    config: dict[str, Any]
    identity: dict[str, Any]
    version: int = 1


@dataclass(frozen=True)
class Model:
    """A LoRA by its name, with data level and consistency weight of its training; None where its header lacks them."""

    name: str
    t_n: float | None
    weight: float | None


@dataclass(frozen=True, kw_only=True)
class Restoration(Results):
    """`errors`: {space: {model: errors by level, then by image}}. `rows` and `pairs` follow from `errors`."""

    levels: tuple[float, ...]
    models: tuple[Model, ...]
    images: tuple[str, ...]
    errors: dict[str, dict[str, tuple[tuple[float, ...], ...]]]
    vae_alone: dict[str, float | None] | None
    rows: tuple[dict[str, Any], ...] = ()
    pairs: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        shape = [len(self.images)] * len(self.levels)
        names = [model.name for model in self.models]
        for space, by_model in self.errors.items():
            if by_model and (list(by_model) != names or any(list(map(len, errors)) != shape for errors in by_model.values())):
                raise ValueError(f"errors.{space} are not of its models, levels and images")
        if not self.errors.get("latent"):
            raise ValueError("errors.latent is missing")


@dataclass(frozen=True)
class Distance:
    """The distances of a set of images from the reference.

    `t_n` and `weight`: as of `Model`, of the LoRA behind the images; `stop`: the level of an early stop.
    """

    name: str
    t_n: float | None
    weight: float | None
    images: int
    frechet: float
    too_few_for_frechet: bool
    kid: float
    kid_std: float
    kid_subsets: int
    kid_size: int
    stop: float | None = None


@dataclass(frozen=True, kw_only=True)
class Distances(Results):
    """`features`: how many the extractor gives for an image; `floors`: distances of the reference to itself."""

    features: int
    reference_images: int
    rows: tuple[Distance, ...]
    floors: tuple[Floor, ...]


@dataclass(frozen=True)
class Mean:
    """A mean over images, and its 95 % interval."""

    mean: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Similarities:
    """Similarities to the nearest image. `samples`: of each image; `close`, `copies`: shares above the two thresholds."""

    images: int
    samples: int
    median: float
    similarity: Mean
    close: Mean
    copies: Mean


@dataclass(frozen=True)
class Beyond:
    """What an attack has beyond images that are no copies; `memorised` is None if any share fits."""

    similarity: Mean
    memorised: Mean | None


@dataclass(frozen=True, kw_only=True)
class Compared(Similarities):
    """One kind of results of a model, compared with held-out images and with its control, if they were given."""

    model: str
    kind: str
    beyond_held_out: Beyond | None = field(default=None, metadata={"key": "beyond held out"})
    control: Similarities | None = None
    beyond_control: Beyond | None = field(default=None, metadata={"key": "beyond control"})


@dataclass(frozen=True)
class Difference:
    """`model` minus `less`, two models that attacked the same images, image by image."""

    model: str
    less: str
    kind: str
    similarity: Mean
    close: Mean
    copies: Mean


@dataclass(frozen=True, kw_only=True)
class Memorization(Results):
    """Similarities of the images of models to training images."""

    baselines: dict[str, Similarities]
    models: tuple[Compared, ...]
    differences: tuple[Difference, ...]

    def __post_init__(self) -> None:
        for key in ("training", "extractor", *(f"images of {row.model}" for row in self.models)):
            if not isinstance(self.identity.get(key), str):
                raise ValueError(f"identity.{key} is missing, or no text")
        if not self.models or not {name for row in self.differences for name in (row.model, row.less)} <= self.names.keys():
            raise ValueError("models lacks some that are compared")

    @property
    def names(self) -> dict[str, str]:
        """Each model's images, by their content."""
        return {row.model: self.identity[f"images of {row.model}"] for row in self.models}
