"""Files that commands have written, damaged in every field in six ways: what a command says of each."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import UserError

GONE = object()
WAYS: dict[str, Any] = {"gone": GONE, "null": None, "a number": 7, "a list": [], "a mapping": {}}
CUTS = (0, 0.1, 0.5, 0.9999)
Walk = tuple[str | int, ...]  # keys from the top of a file to a field


class Damage(NamedTuple):
    """What was done to which field."""

    where: str
    way: str
    content: Any


def damages(whole: Any) -> Iterator[Damage]:
    """Each field of a JSON value in each way but those that change nothing; entries of a list once for each shape."""
    for walk in fields(whole):
        for way, value in WAYS.items():
            content = copy.deepcopy(whole)
            *above, last = walk
            holder = content
            for key in above:
                holder = holder[key]
            if value is GONE:
                del holder[last]
            elif type(holder[last]) is type(value) and holder[last] == value:
                continue
            else:
                holder[last] = copy.deepcopy(value)
            yield Damage(".".join("*" if isinstance(key, int) else key for key in walk), way, content)
    for way, value in WAYS.items():
        if value is not GONE and type(whole) is not type(value):
            yield Damage("", way, value)


def fields(value: Any, walk: Walk = ()) -> Iterator[Walk]:
    """The way to each field."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield (*walk, key)
            yield from fields(entry, (*walk, key))
    elif isinstance(value, list):
        seen = set()
        for i, entry in enumerate(value):
            shape = json.dumps(sorted(entry)) if isinstance(entry, dict) else type(entry).__name__
            if shape not in seen:
                seen.add(shape)
                yield (*walk, i)
                yield from fields(entry, (*walk, i))


class Report(NamedTuple):
    """How many inputs there were, and which fields may be damaged without a word: {(field, way)}."""

    inputs: int
    accepted: set[tuple[str, str]]


def examine(
    file: Path,
    consume: Callable[[], object],
    *,
    load: Callable[[], Any] | None = None,
    store: Callable[[Any], None] | None = None,
    named: tuple[str, ...] = (),
    cuts: tuple[float, ...] = CUTS,
    ways: tuple[str, ...] = tuple(WAYS),
) -> Report:
    """Damage a file in every way, and let `consume` read it: it is refused in one line that names the file, or taken.

    load and store: of the JSON in a file that is none itself; named: other files that may be named, which do not go with it;
    cuts: shares of the file that are left; ways: some of WAYS, where a consumer is slow. The file is as it was afterwards.
    """
    whole, before = file.read_bytes(), listing(file.parent)
    content = (load or (lambda: json.loads(whole)))()
    store = store or (lambda content: (file.write_text(json.dumps(content)), None)[1])
    consume()
    inputs, accepted = 0, set()
    try:
        for damage in damages(content):
            if damage.way not in ways:
                continue
            store(damage.content)
            inputs += 1
            if said(consume, (file.name, *named), f"{file.name}: {damage.where} {damage.way}"):
                accepted.add((damage.where, damage.way))
        for share in cuts:
            file.write_bytes(whole[: int(share * len(whole.rstrip()))])
            inputs += 1
            what = f"{file.name} cut to {share:.2f}"
            assert not said(consume, (file.name, *named), what), what
    finally:
        file.write_bytes(whole)
    assert listing(file.parent) == before, "something was lost"
    return Report(inputs, accepted)


def said(consume: Callable[[], object], names: tuple[str, ...], what: str) -> bool:
    """Whether it is taken. Any other exception than a UserError of one line that names the file is a failure."""
    try:
        consume()
    except UserError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    else:
        return True
    assert "\n" not in message, f"{what}: {message}"
    assert any(name in message for name in names), f"{what}: {message}"
    return False


def listing(folder: Path) -> dict[str, int]:
    """The files of a folder with their sizes."""
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}


def of_another_kind(report: Report, whole: Any, known: dict[str, str]) -> set[tuple[str, str]]:
    """What was taken and should not have been: all but a number for a number, and the fields that are known not to matter.

    known: {field, or the beginning of its name with a star: why it does not matter}.
    """
    numbers = {".".join("*" if isinstance(key, int) else key for key in walk) for walk in fields(whole) if number(whole, walk)}
    free = tuple(name[:-1] for name in known if name.endswith("*"))
    taken = {(where, way) for where, way in report.accepted if not (way == "a number" and where in numbers)}
    shorter = {(where, "gone") for where, way in taken if where.endswith(".*")}  # a list of one entry fewer is a list
    return {(where, way) for where, way in taken - shorter if where not in known and not (free and where.startswith(free))}


def number(whole: Any, walk: Walk) -> bool:
    """Whether a field holds a number."""
    for key in walk:
        whole = whole[key]
    return type(whole) in (int, float)
