"""Mixture density networks from the command line and from Python: p(y | x) from a table."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdncli.api import load, read_table, save
    from mdncli.errors import MdnError
    from mdncli.estimator import MixtureDensityRegressor

__version__ = "0.1.0"
__all__ = ["MdnError", "MixtureDensityRegressor", "load", "read_table", "save"]

_HOME = {
    "MdnError": "mdncli.errors",
    "MixtureDensityRegressor": "mdncli.estimator",
    "load": "mdncli.api",
    "read_table": "mdncli.api",
    "save": "mdncli.api",
}


def __getattr__(name: str) -> Any:
    # Only when it is asked for: PyTorch, pandas and scikit-learn take seconds to import.
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
