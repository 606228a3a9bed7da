"""Read every image once before the work begins, to know what cannot be read and what the set is made from."""

from __future__ import annotations

import io
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from PIL import Image, ImageOps
from tqdm import tqdm

from harness.errors import UserError
from harness.files import digest
from harness.wording import few, several
from sdxl.images.pictures import Picture
from sdxl.parallel import Group

DEEP = ("I", "F")  # Pillow's modes of more than 8 bits a channel begin so; Pillow would cut their values off at 255
A = TypeVar("A")
B = TypeVar("B")


class Reading(NamedTuple):
    """What one reading of an image found."""

    digest: str = ""  # of the bytes of its file
    size: tuple[int, int] = (0, 0)  # height and width, turned upright
    fault: str = ""  # why it cannot be read; "" if it can
    transparent: bool = False  # in part at least
    several: bool = False  # frames or pages


@dataclass(frozen=True)
class SurveyedPicture(Picture):
    """A picture that was read once, before the work began."""

    reading: Reading

    def open(self) -> Any:
        """The image in RGB. Raises: UserError if its file has changed since the survey."""
        payload = self.read()
        if digest(payload) != self.reading.digest:
            raise UserError(f"{self.key} has changed since the command began; run it again")
        return decode(payload)


def decode(payload: bytes) -> Any:
    """An upright RGB image with transparent parts on white. Raises: ValueError, which says why the bytes are no such image."""
    return _decode(payload)[0]


def _decode(payload: bytes) -> tuple[Any, bool, bool]:
    """The image as `decode` returns it, whether parts of it are transparent, and whether it has several frames or pages."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata
            image = Image.open(io.BytesIO(payload))
            image.load()
            if not image.mode.startswith(DEEP):
                frames = image.format != "MPO" and getattr(image, "is_animated", False)  # a camera's MPO: a photograph, previews
                return *_on_white(ImageOps.exif_transpose(image)), frames
    except Exception as error:  # codecs raise a dozen kinds
        why = "is no image" if isinstance(error, Image.UnidentifiedImageError) else f"is damaged: {error}"
        raise ValueError(why) from error
    raise ValueError("has more than 8 bits a channel; convert it")


def _on_white(image: Any) -> tuple[Any, bool]:
    """The image in RGB on white, and whether white shows through. White hides what an editor erased but left in the file."""
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        if layered.getchannel("A").getextrema()[0] < 255:
            return Image.alpha_composite(Image.new("RGBA", image.size, "white"), layered).convert("RGB"), True
    return image.convert("RGB"), False


def look(picture: Picture) -> Reading:
    """Read and decode one image."""
    try:
        payload = picture.read()
        image, transparent, frames = _decode(payload)
        return Reading(digest(payload), (image.height, image.width), "", transparent, frames)
    except FileNotFoundError:
        return Reading(fault="does not exist")
    except OSError as error:
        return Reading(fault=f"cannot be read: {error.strerror or error}")
    except ValueError as error:
        return Reading(fault=str(error))


def survey(pictures: list[Picture], group: Group, threads: int) -> list[SurveyedPicture]:
    """Read every image, each process its share; print how many images are partly transparent or have several frames."""
    mine = range(group.rank, len(pictures), group.size)
    bar = tqdm(mine, desc="reading", unit="image", disable=None if group.main else True, leave=False)
    shares = group.gather(list(ahead(look, (pictures[i] for i in bar), threads)))
    surveyed = [SurveyedPicture(**vars(p), reading=shares[i % group.size][i // group.size]) for i, p in enumerate(pictures)]
    transparent = [p.key for p in surveyed if p.reading.transparent]
    if transparent:
        group.say(f"{several(len(transparent), 'image')} with transparent parts ({few(transparent)}): put on white")
    framed = [p.key for p in surveyed if p.reading.several]
    if framed:
        group.say(f"{several(len(framed), 'image')} with several frames or pages ({few(framed)}): the first is taken")
    return surveyed


def refuse_unreadable(pictures: list[SurveyedPicture], data: str, advice: str = "mend or remove them") -> None:
    """Raises: UserError, which names the first images of `data` that cannot be read."""
    faults = [f"{p.key} {p.reading.fault}" for p in pictures if p.reading.fault]
    if faults:
        raise UserError(f"{len(faults)} of {several(len(pictures), 'image')} of {data} cannot be read ({few(faults)}); {advice}")


def ahead(work: Callable[[A], B], items: Iterable[A], count: int) -> Iterator[B]:
    """work(item) for each item in turn; `count` threads compute the results of as many items in advance."""
    with ThreadPoolExecutor(count) as pool:
        waiting: deque[Future[B]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
