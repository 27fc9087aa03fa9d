"""Conditioning: the distribution of some targets, given the values of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mdncli.columns.transforms import Transform
from mdncli.density.mixture import GaussianMixture, MixtureSource, derived
from mdncli.errors import DataError, ParameterError, parameter
from mdncli.text import listed, nearest, quoted
from mdncli.types import Array


@dataclass(frozen=True)
class GivenTargets:
    """The known values of G of T targets at N rows.

    Attributes:
        positions: of the given targets, in rising order; there may be none.
        remaining: the positions of the other targets; there is at least one.
        values: (N, G), in the units of the file.
        u: (N, G), the same values on the scale of the mixtures; see `Transform.inverse`.
        transforms: of all T targets.
    """

    positions: list[int]
    remaining: list[int]
    values: Array
    u: Array
    transforms: Sequence[Transform]

    @classmethod
    def read(
        cls,
        given: Mapping[str, ArrayLike],
        names: Sequence[str],
        transforms: Sequence[Transform],
        rows: int,
    ) -> "GivenTargets":
        """Return the known values of the targets that `given` names.

        Args:
            given: by target, one number for all rows, or one for each row, (N,).
            names: of all targets.
            transforms: of all targets.
            rows: N.

        Raises:
            DataError: there is no such target, or a value is not a finite number, or it is at one
                of the target's bounds or beyond it.
            ParameterError: all targets are given.
            ValueError: the values of a target are neither one number nor one for each row.
        """
        remaining_targets(list(given), list(names))
        positions = [position for position, name in enumerate(names) if name in given]
        values = np.empty((rows, len(positions)))
        u = np.empty_like(values)
        for column, position in enumerate(positions):
            name = names[position]
            value = np.asarray(given[name], dtype=np.float64)
            if value.shape not in ((), (rows,)):
                raise ValueError(f"values of shape {value.shape} given for {rows} rows")
            _check_values(name, value, transforms[position])
            values[:, column] = value
            u[:, column] = transforms[position].inverse(value)
        remaining = [position for position, name in enumerate(names) if name not in given]
        return cls(positions, remaining, values, u, transforms)

    def condition(self, mixture: GaussianMixture, rows: slice) -> GaussianMixture:
        """Return the mixtures of the remaining targets at some rows, from those of all targets.

        Args:
            mixture: of all targets, at these rows only.
            rows: which of the N rows they are.
        """
        return mixture.given(self.positions, self.u[rows]) if self.positions else mixture

    def complete(self, drawn: Array, rows: slice) -> Array:
        """Return draws of all targets, (N, n, T), in the units of the file.

        Args:
            drawn: (N, n, T - G), draws of the remaining targets on the scale of the mixtures.
            rows: which of the N rows they belong to.
        """
        count, draws, _ = drawn.shape
        y = np.empty((count, draws, len(self.transforms)))
        for column, position in enumerate(self.remaining):
            y[:, :, position] = self.transforms[position].forward(drawn[:, :, column])
        y[:, :, self.positions] = self.values[rows][:, None]
        return y


def condition(source: MixtureSource, known: GivenTargets) -> MixtureSource:
    """Return the mixtures of the remaining targets, from those of all targets."""
    return derived(source, len(known.remaining), known.condition)


def remaining_targets(given: list[str], targets: list[str]) -> list[str]:
    """Return the targets that are not given, in their order.

    Raises:
        DataError: there is no such target.
        ParameterError: all targets are given.
    """
    for name in given:
        position_of(name, targets)
    remaining = [name for name in targets if name not in given]
    if not remaining:
        raise ParameterError(
            f"{parameter('given')} names every target ({listed(targets)}), so none remains to be "
            "predicted. Leave one out."
        )
    return remaining


def position_of(name: str, targets: Sequence[str]) -> int:
    """Return the position of the target of this name.

    Raises:
        DataError: there is no such target.
    """
    if name not in targets:
        raise DataError(
            f"The model has no target {quoted(name)}.{nearest(name, targets)} "
            f"Its targets are: {listed(targets)}."
        )
    return list(targets).index(name)


def _check_values(name: str, value: Array, transform: Transform) -> None:
    """Check that the given values of a target are finite numbers between its bounds.

    Args:
        name: of the target.
        value: () or (N,), in the units of the file.
        transform: of the target.

    Raises:
        DataError: a value is not.
    """
    finite = np.isfinite(value)
    if not finite.all():
        where, wrong = _first(value, ~finite)
        raise DataError(
            f"{where}the given value of {quoted(name)} is {wrong}, not a finite number. Leave the "
            f"{'row' if where else 'target'} out."
        )
    outside = ~np.isfinite(transform.inverse(value))
    if outside.any():
        where, wrong = _first(value, outside)
        raise DataError(
            f"{where}the given value of {quoted(name)} is {wrong:g}, where the density is 0: the "
            f"model was fitted with {quoted(name)} {transform.describe()}."
        )


def _first(value: Array, wrong: Array) -> tuple[str, float]:
    """Return the place of the first wrong value, for a message, and that value."""
    if not value.ndim:
        return "", float(value)
    row = int(np.argmax(wrong))
    return f"row {row + 1}: ", float(value[row])
