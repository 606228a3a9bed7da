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

from ambient.runs import UserError, digest
from sdxl.group import Group
from sdxl.sources import Picture

DEEP = ("I", "F")  # modes of more than 8 bits a channel begin so; PIL would cut them off at 255
A = TypeVar("A")
B = TypeVar("B")


class Seen(NamedTuple):
    """What is known of an image: a digest of its bytes, height and width as it is shown; or why it cannot be read."""

    digest: str
    size: tuple[int, int]
    fault: str = ""


def decode(payload: bytes) -> Any:
    """An RGB image, turned as its camera says; transparency is dropped. Raises: ValueError telling why it cannot be had."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that is odd
            image = Image.open(io.BytesIO(payload))
            image.load()
            if not image.mode.startswith(DEEP):
                return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # of the codecs: a dozen kinds
        why = "is no image" if isinstance(error, Image.UnidentifiedImageError) else f"is damaged: {error}"
        raise ValueError(why) from error
    raise ValueError("has more than 8 bits a channel; convert it")


def look(picture: Picture) -> Seen:
    """Read and decode an image."""
    try:
        payload = picture.read()
        width, height = decode(payload).size
        return Seen(digest(payload), (height, width))
    except FileNotFoundError:
        return Seen("", (0, 0), "does not exist")
    except OSError as error:
        return Seen("", (0, 0), f"cannot be read: {error.strerror or error}")
    except ValueError as error:
        return Seen("", (0, 0), str(error))


def survey(pictures: list[Picture], group: Group, threads: int) -> list[Seen]:
    """Look at every image, each process at its share."""
    mine = range(group.rank, len(pictures), group.size)
    bar = tqdm(mine, desc="reading", unit="image", disable=None if group.main else True, leave=False)
    shares = group.gather(list(ahead(look, (pictures[i] for i in bar), threads)))
    return [shares[i % group.size][i // group.size] for i in range(len(pictures))]


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


def few(names: list[str], most: int = 3) -> str:
    """The first of many."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


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


def several(count: int, one: str, many: str = "") -> str:
    """1 shard, 2 shards; 1 box, 2 boxes."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
