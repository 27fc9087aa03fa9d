"""Mixture density networks from the command line: p(y | x) from a table."""

__version__ = "0.1.0"
