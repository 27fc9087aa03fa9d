"""A model of several targets seen with some of them fixed: a model of the others."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np

from mdncli.density.conditioning import Known, left_after
from mdncli.density.mixture import GaussianMixture
from mdncli.density.model import ConditionalDensity
from mdncli.types import Array


@dataclass(frozen=True, kw_only=True)
class Conditioned(ConditionalDensity):
    """p(other targets | x, given targets), wherever a model is asked.

    Attributes:
        whole: the model of all targets.
        given: the fixed values by target, in the units of the file: a number, or one for each row,
            (N,), where the model is asked about these rows or the first of them.
    """

    whole: ConditionalDensity
    given: Mapping[str, float | Array] = field(default_factory=dict)

    @classmethod
    def on(cls, whole: ConditionalDensity, given: Mapping[str, float | Array]) -> "Conditioned":
        """Return a model with these targets fixed.

        Raises:
            DataError: it has no such target.
            UsageError: no target is left.
        """
        left = left_after(list(given), whole.schema.target_names)
        targets = tuple(target for target in whole.schema.targets if target.name in left)
        parts = {each.name: getattr(whole, each.name) for each in fields(ConditionalDensity)}
        parts["schema"] = replace(whole.schema, targets=targets)
        return cls(**parts, whole=whole, given=given)

    def mixture(self, x: Array) -> GaussianMixture:
        """Return the mixtures of the targets left, for x (N, F), finite."""
        return self._narrowed(self.whole.mixture(x))

    def condition_members(self, x: Array) -> list[GaussianMixture]:
        """Return each member's own answer to `mixture`."""
        return [self._narrowed(member) for member in self.whole.condition_members(x)]

    def condition_baseline(self, x: Array) -> GaussianMixture:
        """Return the least-squares baseline's Gaussian of the targets left."""
        return self._narrowed(self.whole.condition_baseline(x))

    def condition_reference(self, x: Array) -> GaussianMixture:
        """Return the mixture of the targets left that knows nothing of x."""
        return self._narrowed(self.whole.condition_reference(x))

    def _narrowed(self, mixture: GaussianMixture) -> GaussianMixture:
        rows = len(mixture.log_pi)
        values = {
            name: value[:rows] if isinstance(value, np.ndarray) else value
            for name, value in self.given.items()
        }
        known = Known.of(self.whole.schema, values, rows)
        return known.narrowed(mixture, slice(None))


def fixed_values(density: ConditionalDensity) -> str:
    """Return what a title says of the targets that a model has fixed: nothing if there are none."""
    given = density.given if isinstance(density, Conditioned) else {}
    return ", ".join(
        f"{name} of the row" if isinstance(value, np.ndarray) else f"{name} = {value:.6g}"
        for name, value in given.items()
    )
