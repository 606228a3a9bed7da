"""Report."""


def write(out, results, problem):
    pass
