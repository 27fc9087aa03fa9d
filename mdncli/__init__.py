"""Mixture density networks from the command line and from Python: p(y | x) from a table."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdncli import datasets
    from mdncli.api import fit, load, read_table
    from mdncli.conditional_density import ConditionalDensity
    from mdncli.density.distribution import Distribution
    from mdncli.errors import MdnError
    from mdncli.estimator import MixtureDensityRegressor
    from mdncli.settings import Settings

__version__ = "0.1.0"
__all__ = [
    "ConditionalDensity",
    "Distribution",
    "MdnError",
    "MixtureDensityRegressor",
    "Settings",
    "datasets",
    "fit",
    "load",
    "read_table",
]

_MODULES = {
    "ConditionalDensity": "mdncli.conditional_density",
    "Distribution": "mdncli.density.distribution",
    "MdnError": "mdncli.errors",
    "MixtureDensityRegressor": "mdncli.estimator",
    "Settings": "mdncli.settings",
    "fit": "mdncli.api",
    "load": "mdncli.api",
    "read_table": "mdncli.api",
}


def __getattr__(name: str) -> Any:
    # Names are imported when they are used: PyTorch, pandas and scikit-learn take seconds.
    if name == "datasets":
        return import_module("mdncli.datasets")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
