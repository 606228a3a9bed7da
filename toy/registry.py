"""The methods by name, in the order of the tables."""

from __future__ import annotations

from toy.method import Method
from toy.methods import ambient_only, closed_form, deconvolution, denoising, recipes, start

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        closed_form.EXACT,
        denoising.ORACLE,
        deconvolution.METHOD,
        *recipes.METHODS,
        ambient_only.METHOD,
        ambient_only.EARLY_STOP,
        denoising.SURE_DENOISE,
        denoising.NOISIER2NOISE,
        start.METHOD,
        closed_form.MIXTURE,
        closed_form.WIENER,
        denoising.NAIVE,
    )
}
