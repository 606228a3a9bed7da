"""Every image is read once before the work begins: what cannot be read is known then, and so is what the set is made from."""

from __future__ import annotations

import io
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from PIL import Image, ImageOps
from tqdm import tqdm

from harness.errors import UserError
from harness.files import digest
from harness.wording import few, several
from sdxl.images.pictures import Picture
from sdxl.parallel import Group

DEEP = ("I", "F")  # modes of more than 8 bits a channel begin so; PIL would cut them off at 255
A = TypeVar("A")
B = TypeVar("B")


class Seen(NamedTuple):
    """What is known of an image: a digest of its bytes, height and width as it is shown; or why it cannot be read."""

    digest: str
    size: tuple[int, int]
    fault: str = ""
    transparent: bool = False  # in part at least
    several: bool = False  # frames or pages


def decode(payload: bytes) -> Any:
    """An RGB image, turned as its camera says, transparent parts on white. Raises: ValueError telling why it cannot be had."""
    return _decode(payload)[0]


def _decode(payload: bytes) -> tuple[Any, bool, bool]:
    """The image as `decode` gives it, whether parts of it are transparent, and whether it has several frames or pages."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that is odd
            image = Image.open(io.BytesIO(payload))
            image.load()
            if not image.mode.startswith(DEEP):
                frames = image.format != "MPO" and getattr(image, "is_animated", False)  # a camera's MPO: a photograph, previews
                return *_opaque(ImageOps.exif_transpose(image)), frames
    except Exception as error:  # of the codecs: a dozen kinds
        why = "is no image" if isinstance(error, Image.UnidentifiedImageError) else f"is damaged: {error}"
        raise ValueError(why) from error
    raise ValueError("has more than 8 bits a channel; convert it")


def _opaque(image: Any) -> tuple[Any, bool]:
    """The image in RGB on white, and whether white shows through: what an editor has erased is often still in the file."""
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        if layered.getchannel("A").getextrema()[0] < 255:
            return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layered).convert("RGB"), True
    return image.convert("RGB"), False


def look(picture: Picture) -> Seen:
    """Read and decode an image."""
    try:
        payload = picture.read()
        image, transparent, frames = _decode(payload)
        return Seen(digest(payload), (image.height, image.width), "", transparent, frames)
    except FileNotFoundError:
        return Seen("", (0, 0), "does not exist")
    except OSError as error:
        return Seen("", (0, 0), f"cannot be read: {error.strerror or error}")
    except ValueError as error:
        return Seen("", (0, 0), str(error))


def survey(pictures: list[Picture], group: Group, threads: int) -> list[Seen]:
    """Look at every image, each process at its share, and say how those are read that hold more than one opaque image."""
    mine = range(group.rank, len(pictures), group.size)
    bar = tqdm(mine, desc="reading", unit="image", disable=None if group.main else True, leave=False)
    shares = group.gather(list(ahead(look, (pictures[i] for i in bar), threads)))
    seen = [shares[i % group.size][i // group.size] for i in range(len(pictures))]
    clear = [p.key for p, s in zip(pictures, seen, strict=True) if s.transparent]
    if clear:
        group.say(f"{several(len(clear), 'image')} with transparent parts ({few(clear)}): put on white")
    more = [p.key for p, s in zip(pictures, seen, strict=True) if s.several]
    if more:
        group.say(f"{several(len(more), 'image')} with several frames or pages ({few(more)}): the first is taken")
    return seen


def usable(pictures: list[Picture], seen: list[Seen], *, smallest: int, skip: bool) -> list[int]:
    """The numbers of the images that can be read. Raises: UserError for any that cannot, unless told to skip; for small ones."""
    faults = [f"{p.key} {s.fault}" for p, s in zip(pictures, seen, strict=True) if s.fault]
    if faults and (not skip or len(faults) == len(pictures)):
        advice = "mend them, or leave them out with --skip-unreadable" if not skip else "none is left"
        raise UserError(f"{len(faults)} of {len(pictures)} images cannot be read ({few(faults)}); {advice}")
    kept = [i for i, s in enumerate(seen) if not s.fault]
    small = [f"{pictures[i].key} {seen[i].size[1]}x{seen[i].size[0]}" for i in kept if min(seen[i].size) < smallest]
    if small:
        least = min(min(seen[i].size) for i in kept)
        raise UserError(
            f"{len(small)} of {len(kept)} images are smaller than {smallest} pixels ({few(small)}); remove them, enlarge them "
            f"with --upscale, or take --resolution {least // 8 * 8}"
        )
    return kept


def repeated(pictures: list[Picture], seen: list[Seen], kept: list[int]) -> str:
    """In words: which images have the same bytes under several names; "" if none have."""
    names: dict[str, list[str]] = {}
    for i in kept:
        names.setdefault(seen[i].digest, []).append(pictures[i].key)
    groups = [" = ".join(keys) for keys in names.values() if len(keys) > 1]
    return f"{several(len(groups), 'image')} under several names ({few(groups)})" if groups else ""


def ahead(work: Callable[[A], B], items: Iterable[A], count: int) -> Iterator[B]:
    """work(item) for each item in turn, so many begun beforehand by as many threads."""
    with ThreadPoolExecutor(count) as pool:
        waiting: deque[Future[B]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
