"""Conditional densities in NumPy: mixtures, distributions, conditioning, scores; no PyTorch."""
