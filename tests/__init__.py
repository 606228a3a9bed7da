"""Contracts: shapes, types, configs, runs, the command line, and what happens with bad input."""
