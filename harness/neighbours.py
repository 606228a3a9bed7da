"""Exact nearest neighbours of many images by the cosine of their features, in blocks that processes share.

The memory is that of a block, for any number of images, and features may be mapped from a file. Products in float32 select a few
candidates, and their cosines in float64 decide. Therefore the result does not depend on blocks or processes, and the first of
equal neighbours is returned. The features are used as they are; the caller may subtract a mean from them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from harness.errors import UserError

QUERIES, KNOWN = 2048, 4096  # the rows and the columns of a block of products
SPARE = 2  # candidates beyond k: so many may differ from the last one by rounding alone


class Processes(Protocol):
    """The processes that share the work: this one's rank and device, their number, and the values of all of them."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    def gather(self, value: Any, /) -> list[Any]: ...


class Neighbours(NamedTuple):
    """The k nearest rows of each query, the nearest first."""

    similarity: Tensor  # cosines, float32, (N, k)
    row: Tensor  # (N, k)

    def first(self) -> Neighbours:
        """The nearest row of each query alone, (N,)."""
        return Neighbours(self.similarity[:, 0], self.row[:, 0])


def nearest(
    queries: Tensor, known: Tensor, *, k: int = 1, own: Tensor | None = None, group: Processes | None = None
) -> Neighbours:
    """The k rows of `known` (M, D) with the largest cosine to each query (N, D); the first of equal rows.

    Every process passes the same features, works on some of the blocks, and gets the whole result.

    Args: own: (N,), for each query a row of `known` that does not count, such as the query itself.
    Raises: UserError for fewer than k rows, and for features that are not finite.
    """
    _check(queries, known, k, own)
    rank, size, device = (group.rank, group.size, group.device) if group else (0, 1, queries.device)
    mine = {}
    for start in range(QUERIES * rank, len(queries), QUERIES * size):
        rows = slice(start, start + QUERIES)
        mine[start] = _of_block(queries[rows].to(device), known, k, None if own is None else own[rows].to(device))
    blocks = {start: part for share in (group.gather(mine) if group else [mine]) for start, part in share.items()}
    parts = [blocks[start] for start in sorted(blocks)]
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
    """The cosines and the rows, (B, k) each and on the CPU, of the k nearest neighbours of a block of queries (B, D)."""
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
        # stable, so that equal values keep the order of rows
        both, place = torch.cat([best, value], 1).sort(dim=1, descending=True, stable=True)
        best, index = both[:, :wanted], torch.cat([index, start + where], 1).gather(1, place)[:, :wanted]
    return _decided(queries, known, best, index, k)


def _largest(products: Tensor, count: int, *, floor: Tensor) -> tuple[Tensor, Tensor]:
    """The largest products of each row and their columns, (B, count), the first of equal ones; `products` is overwritten.

    There are fewer columns if no row has another value above its `floor`, as in most blocks.
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
    """The cosines in float64 and the rows, (B, k) each, of the k nearest among the candidates `index` (B, k + SPARE)."""
    order = index.sort(1)  # so that the first of equal rows comes first
    index, best = order.values, best.gather(1, order.indices)
    x = nn.functional.normalize(queries.double(), dim=1)
    columns = []
    for column in index.T:  # one candidate of each query at a time
        y = nn.functional.normalize(known[column.to(known.device)].to(x), dim=1)
        columns.append((x * y).sum(1))
    cosine = torch.where(best.isneginf(), best.double(), torch.stack(columns, 1))
    value, place = cosine.sort(dim=1, descending=True, stable=True)
    return value[:, :k].float().cpu(), index.gather(1, place)[:, :k].cpu()
