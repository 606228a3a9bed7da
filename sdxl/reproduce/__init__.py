"""The paper's experiments on the mini model."""
