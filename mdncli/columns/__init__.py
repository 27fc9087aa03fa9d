"""Columns of text or of a data frame, and the matrices that a model reads."""
