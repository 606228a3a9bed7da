"""What folders tell of themselves, in manifest.json: noisy sets, whose shards have headers too, and images of models."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from harness import records
from harness.errors import UserError
from harness.files import digest
from sdxl.model import lora

MANIFEST, NULL = "manifest.json", "null.safetensors"
MEND = "copy it again from where it came, or run the same `python -m sdxl corrupt` again, which makes it anew"
NOTES = ("source", "base", "vae_name", "left_out")  # for the reader: names of folders, which may change, and what was left out


@dataclass(frozen=True)
class Header:
    """What a shard says of itself: what it was made from, and of its images. The manifest has the version of it all."""

    identity: str
    keys: tuple[str, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Shard:
    """A file of a set, as the manifest has it."""

    file: str
    digest: str
    images: int


@dataclass(frozen=True)
class Identity:
    """What a set depends on, models by their content. The seed is told by a digest: with it the noise could be subtracted."""

    code: str
    data: dict[str, int | str]
    t_n: int | str
    models: dict[str, str]
    no_caption: str
    schedule: str
    prediction: str
    transform: str
    seed: str
    dtype: str
    vae_dtype: str
    shard: int


@dataclass(frozen=True)
class Statistics:
    """Of the noisy latents at one level: how many images, mean and standard deviation of a number."""

    images: int
    mean: float
    std: float


@dataclass(frozen=True)
class Manifest:
    """All that is known of a set. `size`: pixels of a side; `null`: digest of the embedding of no caption; last NOTES."""

    remedy: ClassVar[str] = MEND
    vae: str
    schedule: str
    size: int
    images: int
    captions: dict[str, int]
    identity: Identity
    levels: dict[str, Statistics]
    source: str | None
    base: str
    vae_name: str | None
    left_out: tuple[str, ...]
    shards: tuple[Shard, ...] = ()
    null: str = ""
    digest: str = ""
    format: int = 1

    @property
    def content(self) -> str:
        """The digest of all but NOTES."""
        found = {key: value for key, value in records.plain(self).items() if key not in (*NOTES, "digest", "format")}
        shards, null = found.pop("shards"), found.pop("null")
        return digest(json.dumps([found, shards, null], sort_keys=True).encode())

    @property
    def digests(self) -> dict[str, str]:
        """Of each file."""
        return {shard.file: shard.digest for shard in self.shards} | {NULL: self.null}


def read_header(file: Path, opened: Any) -> Header:
    """Raises: UserError for a damaged one."""
    return records.from_json((opened.metadata() or {}).get("about", "{}"), Header, where=f"the header of {file}")


def set_manifest(folder: Path) -> Manifest:
    """Of a noisy set. Raises: UserError for one that is damaged, of another version, or not as it was written."""
    found = records.read(folder / MANIFEST, Manifest)
    if found.digest != found.content:
        raise UserError(f"{folder / MANIFEST} has changed since it was written: its digest is of other content; {MEND}")
    return found


@dataclass(frozen=True)
class Made:
    """An image of `generate`. `prompt`: None where it had no caption at all."""

    file: str
    index: int
    prompt: str | None


@dataclass(frozen=True)
class Restored(Made):
    """One of `generate --posterior`: what may be behind a row of a noisy set."""

    row: int
    key: str
    t_n: float


@dataclass(frozen=True)
class Attacked(Made):
    """A result of an attack on the image of this key and content; `kind`: which of the results."""

    key: str
    digest: str
    kind: str


@dataclass(frozen=True)
class Noised(Attacked):
    """Of the noise attack, at this level."""

    t: int


@dataclass(frozen=True)
class Filled(Attacked):
    """Of the masking attack: the filled region, its place, and the file of what was there."""

    box: tuple[int, int, int, int]
    original: str


@dataclass(frozen=True, kw_only=True)
class ImagesIdentity:
    """What images depend on. `rest` is compared as a whole.

    `lora`: by its content for `generate`, which attacks have in `lora_content`; `posterior`: the digest of the noisy set.
    """

    resolution: int
    lora: str | None
    lora_content: str | None = field(default=None, metadata={"key": "print of lora content"})
    posterior: str | None = None
    rest: dict[str, Any]


@dataclass(frozen=True)
class ImagesManifest:
    """What `generate` or an attack tells of its images. `config`: the options it was given."""

    remedy: ClassVar[str] = "run the command that made it again"
    config: dict[str, Any]
    identity: ImagesIdentity
    images: tuple[Made | Restored | Noised | Filled, ...]
    lora: lora.About | None = None
    regions: dict[str, int | str] | None = None
    version: int = 1

    def __post_init__(self) -> None:
        if len({type(image) for image in self.images}) != 1:
            raise ValueError("images must be of one command, and at least one")


def write_images_manifest(
    folder: Path, config: Any, identity: dict[str, Any], images: tuple[Any, ...], file: Path | None, **more: Any
) -> None:
    """`identity`: as the run is known by; `file`: of the LoRA, if there is one."""
    said, known = lora.about(file) if file else None, records.fit(identity, ImagesIdentity, where="identity")
    records.write(folder / MANIFEST, ImagesManifest(asdict(config), known, images, said, **more))


def source_name(source: str) -> str:
    """The name of a source without its place on this machine: the last part of a folder's path, else the source itself."""
    return Path(source).name if Path(source).is_dir() else source


def read_manifest(folder: Path) -> Manifest | ImagesManifest:
    """The manifest of a noisy set or of images. Raises: UserError for one that is damaged."""
    kinds: Any = Manifest | ImagesManifest
    return records.read(folder / MANIFEST, kinds)


def images_manifest(folder: Path) -> ImagesManifest:
    """Raises: UserError for one that is damaged, or of a noisy set."""
    found = read_manifest(folder)
    if isinstance(found, Manifest):
        raise UserError(f"{folder / MANIFEST} is that of a noisy set, of which no image can be shown")
    return found
