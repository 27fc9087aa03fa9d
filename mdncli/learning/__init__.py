"""Learning, with PyTorch: from a dataset to a mixture density network."""
