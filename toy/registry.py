"""The methods, one file each, by name; the order is that of the tables."""

from __future__ import annotations

from toy.method import Method
from toy.methods import (
    ambient_only,
    deconvolution,
    early_stop,
    exact,
    mixture,
    naive,
    noisier2noise,
    oracle,
    ours,
    paper,
    sure_denoise,
    wiener,
)

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (
        exact,
        oracle,
        deconvolution,
        ours,
        paper,
        ambient_only,
        early_stop,
        sure_denoise,
        noisier2noise,
        mixture,
        wiener,
        naive,
    )
}
