"""The model file: PyTorch writes it, NumPy is enough to read it, and nothing in it is executed."""
