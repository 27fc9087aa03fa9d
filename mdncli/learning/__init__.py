"""How a density is learned, with PyTorch."""
