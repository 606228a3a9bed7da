"""The records in manifest.json, of noisy sets and of generated images, and in the headers of the shards of a set."""

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
REMEDY = "copy it again from where it came, or run the same `python -m sdxl corrupt` again, which makes it anew"
NOTES = ("source", "base", "vae_name", "left_out")  # fields for the reader, which the digest of a set does not cover


@dataclass(frozen=True)
class Header:
    """The header of a shard: a digest of what it was made from, and keys and captions of its images."""

    identity: str
    keys: tuple[str, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Shard:
    """The entry of a shard in the manifest."""

    file: str
    digest: str
    images: int


@dataclass(frozen=True)
class Identity:
    """What a set depends on. Only a digest of the seed is here, since with the seed the noise could be subtracted."""

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
    """The noisy latents at one level: the number of images, and mean and standard deviation over all coordinates."""

    images: int
    mean: float
    std: float


@dataclass(frozen=True)
class Manifest:
    """The manifest of a noisy set. `size`: side in pixels; `null`: digest of null.safetensors; `digest`: that of `content`."""

    remedy: ClassVar[str] = REMEDY
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
        """The digest of all fields but NOTES."""
        fields = {key: value for key, value in records.plain(self).items() if key not in (*NOTES, "digest", "format")}
        shards, null = fields.pop("shards"), fields.pop("null")
        return digest(json.dumps([fields, shards, null], sort_keys=True).encode())

    @property
    def digests(self) -> dict[str, str]:
        """The digest of each file of the set."""
        return {shard.file: shard.digest for shard in self.shards} | {NULL: self.null}


def read_header(file: Path, opened: Any) -> Header:
    """The header of a shard that is open. Raises: UserError if it is damaged."""
    return records.from_json((opened.metadata() or {}).get("about", "{}"), Header, where=f"the header of {file}")


def set_manifest(folder: Path) -> Manifest:
    """The manifest of a noisy set. Raises: UserError if it is damaged, of another version, or has changed."""
    manifest = records.read(folder / MANIFEST, Manifest)
    if manifest.digest != manifest.content:
        raise UserError(f"{folder / MANIFEST} has changed since it was written: its digest is of other content; {REMEDY}")
    return manifest


@dataclass(frozen=True)
class Made:
    """An image of `generate`. `prompt`: None for the condition without a caption."""

    file: str
    index: int
    prompt: str | None


@dataclass(frozen=True)
class Restored(Made):
    """A posterior sample of `generate --posterior`, for a row of a noisy set."""

    row: int
    key: str
    t_n: float


@dataclass(frozen=True)
class Attacked(Made):
    """A result of an attack. `key` and `digest`: those of the attacked image; `kind`: which of its results this is."""

    key: str
    digest: str
    kind: str


@dataclass(frozen=True)
class Noised(Attacked):
    """A result of the noise attack at level `t`."""

    t: int


@dataclass(frozen=True)
class Filled(Attacked):
    """A result of the masking attack: a filled region, its box, and the file with the original region."""

    box: tuple[int, int, int, int]
    original: str


@dataclass(frozen=True, kw_only=True)
class ImagesIdentity:
    """What images depend on. `posterior`: the digest of the noisy set; `rest`: all else, compared as a whole.

    `lora`: the digest of the LoRA for `generate`, its path for attacks, which have the digest in `lora_content`.
    """

    resolution: int
    lora: str | None
    lora_content: str | None = field(default=None, metadata={"key": "print of lora content"})
    posterior: str | None = None
    rest: dict[str, Any]


@dataclass(frozen=True)
class ImagesManifest:
    """The manifest of the images of `generate` or an attack. `config`: the options of the command."""

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
    """Write the manifest of images. Args: identity: that of the run; file: that of the LoRA, if there is one."""
    record, known = lora.about(file) if file else None, records.fit(identity, ImagesIdentity, where="identity")
    records.write(folder / MANIFEST, ImagesManifest(asdict(config), known, images, record, **more))


def source_name(source: str) -> str:
    """The name of a source without its place on this machine: the last part of a folder's path, else the source itself."""
    return Path(source).name if Path(source).is_dir() else source


def read_manifest(folder: Path) -> Manifest | ImagesManifest:
    """The manifest of a noisy set or of images. Raises: UserError if it is damaged."""
    kinds: Any = Manifest | ImagesManifest
    return records.read(folder / MANIFEST, kinds)


def images_manifest(folder: Path) -> ImagesManifest:
    """The manifest of images. Raises: UserError if it is damaged, or that of a noisy set."""
    manifest = read_manifest(folder)
    if isinstance(manifest, Manifest):
        raise UserError(f"{folder / MANIFEST} is that of a noisy set, of which no image can be shown")
    return manifest
