"""Contracts of `ambient`."""
