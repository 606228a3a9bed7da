"""Real images: the paper's tables and figures in miniature, on a CPU, with the truth known where it can be."""
