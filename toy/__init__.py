"""Experiments small enough for a laptop, over the mathematics of `ambient`."""
