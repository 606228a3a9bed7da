"""Contracts of the toy experiments."""
