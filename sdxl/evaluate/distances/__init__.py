"""Frechet distance and KID of generated images to a reference (Fig. 4)."""
