"""Counts and lists of names in messages."""

from __future__ import annotations


def few(names: list[str], most: int = 3) -> str:
    """The first of many names, in a list. A name with a line break is escaped, so that a message stays on one line."""
    shown = [name if name.isprintable() else ascii(name)[1:-1] for name in names[:most]]
    return ", ".join(shown) + (", ..." if len(names) > most else "")


def several(count: int, one: str, many: str = "") -> str:
    """A count with its noun: 1 shard, 2 shards; 1 box, 2 boxes (`many` is the irregular plural)."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def one_line(error: Exception, most: int = 200) -> str:
    """The message of an exception on one line, cut off after so many characters."""
    return " ".join(str(error).split())[:most]
