"""Figures."""


def draw_all(out, results, problem):
    pass
