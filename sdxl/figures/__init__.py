"""Stage 5, figures: the paper's figures and its table, from what the other stages have left."""
