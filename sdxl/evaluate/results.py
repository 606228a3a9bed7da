"""What each evaluation leaves in results.json, for `python -m sdxl figures` and for programs of others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sdxl.evaluate.distances.measure import Floor


@dataclass(frozen=True, kw_only=True)
class Results:
    """`config`: the options; `identity`: what the numbers depend on, by its content."""

    remedy: ClassVar[str] = "run the same `python -m sdxl evaluate` again"
    config: dict[str, Any]
    identity: dict[str, Any]
    version: int = 1


@dataclass(frozen=True)
class Model:
    """A LoRA by its name, and what it says of itself; None where it says nothing."""

    name: str
    t_n: float | None
    weight: float | None


@dataclass(frozen=True, kw_only=True)
class Restoration(Results):
    """`errors`: {space: {model: by level, then by image}}. `rows` and `pairs` follow from them."""

    levels: tuple[float, ...]
    models: tuple[Model, ...]
    images: tuple[str, ...]
    errors: dict[str, dict[str, tuple[tuple[float, ...], ...]]]
    vae_alone: dict[str, float | None] | None
    rows: tuple[dict[str, Any], ...] = ()
    pairs: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        shape = [len(self.images)] * len(self.levels)
        for space, of in self.errors.items():
            if of and (list(of) != [model.name for model in self.models] or any(list(map(len, x)) != shape for x in of.values())):
                raise ValueError(f"errors.{space} are not of its models, levels and images")
        if not self.errors.get("latent"):
            raise ValueError("errors.latent is missing")


@dataclass(frozen=True)
class Distance:
    """A set of images against the reference. `t_n` and `weight`: of the LoRA behind it, where it is known."""

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


@dataclass(frozen=True, kw_only=True)
class Distances(Results):
    """`features`: numbers that the extractor gives of an image; `floors`: of the reference to itself."""

    features: int
    reference_images: int
    rows: tuple[Distance, ...]
    floors: tuple[Floor, ...]


@dataclass(frozen=True)
class Mean:
    """Over images, with its interval of 95 %."""

    mean: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Similarities:
    """To the nearest image: of how many, in how many samples each; median, mean, and shares above the thresholds."""

    images: int
    samples: int
    median: float
    similarity: Mean
    close: Mean
    copies: Mean


@dataclass(frozen=True)
class Beyond:
    """What an attack has beyond images that are no copies; `memorised` is None where nothing can be told."""

    similarity: Mean
    memorised: Mean | None


@dataclass(frozen=True, kw_only=True)
class Compared(Similarities):
    """One kind of images of a model, beside held-out images and beside its control, where there are any."""

    model: str
    kind: str
    beyond_held_out: Beyond | None = field(default=None, metadata={"key": "beyond held out"})
    control: Similarities | None = None
    beyond_control: Beyond | None = field(default=None, metadata={"key": "beyond control"})


@dataclass(frozen=True)
class Difference:
    """Of two models that attacked the same images, image by image."""

    model: str
    less: str
    kind: str
    similarity: Mean
    close: Mean
    copies: Mean


@dataclass(frozen=True, kw_only=True)
class Memorization(Results):
    """Images of models against training images."""

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
