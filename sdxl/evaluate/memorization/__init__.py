"""Similarity of images to the nearest training image (Figs. 3, 8, 9, 10)."""
