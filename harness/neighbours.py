"""The nearest of many images, exactly: cosines of their features by products of blocks, shared among processes.

Memory is that of a block, whatever the number of images: features may be mapped from a file. Products in float32 pick a few
candidates; their cosines in float64 decide, so that the answer depends neither on blocks nor on processes, and of equal ones
the first is found. Cosines are about the origin, as the features are: about the mean of the training set if it was subtracted.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from harness.errors import UserError

QUERIES, KNOWN = 2048, 4096  # rows of a block of products, and its columns
SPARE = 2  # candidates beside the k wanted: that many may lie within rounding of the last one


class Processes(Protocol):
    """Those that share the work: this one's rank, how many they are, where this one computes, and what each of them has."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    def gather(self, value: Any, /) -> list[Any]: ...


class Neighbours(NamedTuple):
    """Of each query the k nearest, nearest first: cosines in float32 and which rows, both (N, k)."""

    similarity: Tensor
    row: Tensor

    def first(self) -> Neighbours:
        """The nearest alone, (N,)."""
        return Neighbours(self.similarity[:, 0], self.row[:, 0])


def nearest(
    queries: Tensor, known: Tensor, *, k: int = 1, own: Tensor | None = None, group: Processes | None = None
) -> Neighbours:
    """The k rows of `known` (M, D) with the largest cosine to each query (N, D); of equal ones the first.

    own: (N,), a row of `known` for each query that does not count: itself, where training images are compared with the others.
    Every process gives the same features and gets the whole answer; each works on some of the blocks.
    Raises: UserError for fewer than k rows, and for features that are not finite.
    """
    _check(queries, known, k, own)
    rank, size, device = (group.rank, group.size, group.device) if group else (0, 1, queries.device)
    mine = {}
    for start in range(QUERIES * rank, len(queries), QUERIES * size):
        rows = slice(start, start + QUERIES)
        mine[start] = _of_block(queries[rows].to(device), known, k, None if own is None else own[rows].to(device))
    found = {start: part for share in (group.gather(mine) if group else [mine]) for start, part in share.items()}
    parts = [found[start] for start in sorted(found)]
    whole = Neighbours(*(torch.cat([part[i] for part in parts]) for i in range(2)))
    if not bool(whole.similarity.isfinite().all()):
        raise UserError("some features are not finite: damaged weights, or an extractor that overflows; take it in float32")
    return whole


def _check(queries: Tensor, known: Tensor, k: int, own: Tensor | None) -> None:
    if queries.ndim != 2 or known.ndim != 2 or queries.shape[1] != known.shape[1]:
        raise UserError(f"features of one extractor are needed; got {tuple(queries.shape)} and {tuple(known.shape)}")
    others = len(known) - (own is not None)
    if k < 1 or others < k or not len(queries):
        raise UserError(f"the {k} nearest of {others} images to {len(queries)} are asked for; that needs at least {max(1, k)}")


def _of_block(queries: Tensor, known: Tensor, k: int, own: Tensor | None) -> tuple[Tensor, Tensor]:
    """On the CPU."""
    wanted = min(k + SPARE, len(known))
    x = nn.functional.normalize(queries.float(), dim=1)
    best = x.new_full((len(x), wanted), -torch.inf)
    index = torch.zeros(len(x), wanted, dtype=torch.int64, device=x.device)
    for start, end in pairwise([*range(0, len(known), KNOWN), len(known)]):
        products = x @ nn.functional.normalize(known[start:end].to(x), dim=1).T
        if own is not None:
            here = ((own >= start) & (own < end)).nonzero()[:, 0]
            products[here, own[here] - start] = -torch.inf
        value, where = _largest(products, min(wanted, end - start), floor=best[:, -1])
        both, place = torch.cat([best, value], 1).sort(dim=1, descending=True, stable=True)  # earlier rows stand first
        best, index = both[:, :wanted], torch.cat([index, start + where], 1).gather(1, place)[:, :wanted]
    return _decided(queries, known, best, index, k)


def _largest(products: Tensor, count: int, *, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row the largest, (B, count), the first of equal ones. What is asked for is struck out.

    Ends early where no row holds one above its floor, as in most blocks.
    """
    values, places = [], []
    for _ in range(count):
        value, place = products.max(1, keepdim=True)
        values.append(value)
        places.append(place)
        if not bool((value[:, 0] > floor).any()) and not bool(value.isnan().any()):
            break
        products.scatter_(1, place, -torch.inf)
    return torch.cat(values, 1), torch.cat(places, 1)


def _decided(queries: Tensor, known: Tensor, best: Tensor, index: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest among the candidates, by cosines in float64."""
    order = index.sort(1)  # so that of equal ones the first is found
    index, best = order.values, best.gather(1, order.indices)
    x = nn.functional.normalize(queries.double(), dim=1)
    columns = []
    for column in index.T:  # one candidate of each query at a time
        y = nn.functional.normalize(known[column.to(known.device)].to(x), dim=1)
        columns.append((x * y).sum(1))
    cosine = torch.where(best.isneginf(), best.double(), torch.stack(columns, 1))
    value, place = cosine.sort(dim=1, descending=True, stable=True)
    return value[:, :k].float().cpu(), index.gather(1, place)[:, :k].cpu()
