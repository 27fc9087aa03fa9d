"""Targets whose values are known: what a model says of the others, given these."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mdncli.columns.schema import Schema
from mdncli.density.mixture import GaussianMixture
from mdncli.errors import DataError, UsageError
from mdncli.text import listed, nearest, quoted
from mdncli.types import Array


@dataclass(frozen=True)
class Known:
    """The given values of G of T targets, at N rows.

    Attributes:
        positions: of the given targets, in rising order; there may be none.
        rest: of the others; there is at least one.
        values: (N, G), in the units of the file.
        underneath: (N, G), the same on the mixture's scale.
        schema: the model's columns.
    """

    positions: list[int]
    rest: list[int]
    values: Array
    underneath: Array
    schema: Schema

    @classmethod
    def of(cls, schema: Schema, given: Mapping[str, Any], rows: int) -> "Known":
        """Return the known values of the targets that `given` names.

        Args:
            schema: the model's columns.
            given: by target, one value for each row, (rows,), or one for all.
            rows: N.

        Raises:
            DataError: the model has no such target, or a value is not a finite number, or at one
                of the target's bounds or beyond it.
            UsageError: no target is left.
        """
        names = schema.target_names
        left_after(list(given), names)
        positions = [position for position, name in enumerate(names) if name in given]
        rest = [position for position, name in enumerate(names) if name not in given]
        values = np.empty((rows, len(positions)))
        for column, position in enumerate(positions):
            values[:, column] = np.asarray(given[names[position]], dtype=np.float64)
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            name = quoted(names[positions[column]])
            raise DataError(
                f"row {row + 1}: the given value of {name} is {values[row, column]}, not a finite "
                "number. Leave the row out."
            )
        underneath = values.copy()
        for column, position in enumerate(positions):
            underneath[:, column] = schema.bounds[position].to_mixture(values[:, column])
        outside = ~np.isfinite(underneath)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            target = schema.targets[positions[column]]
            where = f"row {row + 1}: " if np.ndim(given[target.name]) else ""
            raise DataError(
                f"{where}the given value of {quoted(target.name)} is "
                f"{values[row, column]:g}, where its density is 0: the model was "
                f"fitted {target.bounds.in_words()}."
            )
        return cls(positions, rest, values, underneath, schema)

    def narrowed(self, mixture: GaussianMixture, rows: slice) -> GaussianMixture:
        """Return the mixtures of the other targets at some rows, from those of all targets."""
        if not self.positions:
            return mixture
        return mixture.given(self.positions, self.underneath[rows])

    def completed(self, drawn: Array, rows: slice) -> Array:
        """Return draws of all targets, (N, n, T), in the units of the file.

        Args:
            drawn: (N, n, T - G), of the other targets, on the mixture's scale.
            rows: which of the rows they are of.
        """
        count, draws, _ = drawn.shape
        y = np.empty((count, draws, len(self.positions) + len(self.rest)))
        for column, position in enumerate(self.rest):
            y[:, :, position] = self.schema.bounds[position].to_target(drawn[:, :, column])
        y[:, :, self.positions] = self.values[rows][:, None]
        return y


def left_after(given: list[str], targets: list[str]) -> list[str]:
    """Return the targets that are not given.

    Raises:
        DataError: one of the given is no target.
        UsageError: none is left.
    """
    for name in given:
        if name not in targets:
            raise DataError(
                f"the model has no target {quoted(name)} to be given."
                f"{nearest(name, targets)} Its targets are: {listed(targets)}."
            )
    left = [name for name in targets if name not in given]
    if not left:
        raise UsageError(
            f"no target is left to ask about: all are given, {listed(targets)}. Leave one out."
        )
    return left
