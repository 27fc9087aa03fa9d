"""The rows of one fit on the scale of the networks, and which of them each member holds out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mdncli.columns.dataset import Dataset
from mdncli.columns.schema import Schema
from mdncli.columns.transforms import Cells
from mdncli.errors import DataError, parameter
from mdncli.types import Array, Positions

_FEWEST_FOLDS = 5


@dataclass(frozen=True)
class Split:
    """The training rows and the validation rows of each of M members, as positions in the dataset.

    Either all members hold out the same rows, or each member holds out another part.

    Attributes:
        train, valid: of each member.
        parts: of the rows, if each member holds out one of them; some may be held out by none.
    """

    train: list[Positions]
    valid: list[Positions]
    parts: Sequence[Positions] = ()

    @property
    def is_shared(self) -> bool:
        """Whether all members hold out the same rows."""
        return len(self.valid) == 1 or np.array_equal(self.valid[0], self.valid[1])

    def holders(self, rows: int, members: Sequence[int]) -> Positions:
        """Return for each of the rows the first of some members that holds it out; -1 for none."""
        holder = np.full(rows, -1)
        for member in reversed(members):
            holder[self.valid[member]] = member
        return holder

    @property
    def holds_out(self) -> bool:
        """Whether any rows are held out."""
        return len(self.valid[0]) > 0

    @property
    def train_rows(self) -> Positions:
        """The rows that at least one member learns from; with several members these are all."""
        return np.unique(np.concatenate(self.train))

    @property
    def valid_rows(self) -> Positions:
        """The rows that at least one member holds out."""
        return np.unique(np.concatenate(self.valid))

    def first_member(self) -> "Split":
        """Return the split of the first member alone."""
        return Split(self.train[:1], self.valid[:1])


def split_dataset(
    dataset: Dataset, members: int, share: float, rng: np.random.Generator, parts: int = 0
) -> tuple[Dataset, Split]:
    """Return all rows, the user's own validation rows last, and the split of these rows.

    Args:
        dataset: the rows. If it has validation rows, every member holds out exactly these.
        members: M.
        share: of the rows, for one member to hold out; see `split_rows`.
        rng: the source of randomness.
        parts: see `split_rows`.

    Raises:
        DataError: all rows are in one group.
    """
    rows, validation = len(dataset.y), dataset.validation
    if validation is None:
        return dataset, split_rows(rows, members, share, rng, dataset.groups, parts)
    weights = known = None
    if dataset.weights is not None or validation.weights is not None:
        weights = np.concatenate([dataset.row_weights, validation.row_weights])
    if dataset.known is not None or validation.known is not None:
        known = np.concatenate([dataset.known_rows, validation.known_rows])
    x = np.concatenate([dataset.x, validation.x])
    y = np.concatenate([dataset.y, validation.y])
    train, valid = np.arange(rows), np.arange(rows, len(y))
    return Dataset(x, y, weights, known=known), Split([train] * members, [valid] * members)


def split_rows(
    rows: int,
    members: int,
    share: float,
    rng: np.random.Generator,
    groups: Positions | None = None,
    parts: int = 0,
) -> Split:
    """Return a random split.

    A single member holds out the given share of the rows. Of M members, each holds out another one
    of max(M, 5, parts) equal parts. If there are fewer rows or groups than that, some members hold
    out the same part.

    Args:
        rows: N.
        members: M.
        share: of the rows, for a single member; 0 holds out none.
        rng: the source of randomness.
        groups: (N,), the group of each row, numbered from 0; no group is split.
        parts: with more parts than members, each member learns from more rows, and some rows are
            held out by no member.

    Raises:
        DataError: all rows are in one group.
    """
    if members == 1 and share == 0.0:
        return Split([rng.permutation(rows)], [np.empty(0, dtype=np.int64)])
    if groups is not None and not groups.any():
        raise DataError(
            f"All rows are in one group, so no group can be held out. Leave out "
            f"{parameter('group')}."
        )
    if members == 1:
        held_out = min(rows - 1, max(1, round(share * rows)))
        sizes = np.array([held_out, rows - held_out])
    else:
        most = rows if groups is None else int(groups.max()) + 1
        folds = min(max(members, _FEWEST_FOLDS, parts), most)
        sizes = np.full(folds, rows / folds)
    held_out_parts = random_parts(rows, sizes, rng, groups)
    part_of_member = [member % len(held_out_parts) for member in range(members)]
    train = [
        np.concatenate([part for place, part in enumerate(held_out_parts) if place != own])
        for own in part_of_member
    ]
    return Split(train, [held_out_parts[own] for own in part_of_member], held_out_parts)


def parts_of_rows(
    rows: int, split: Split, count: int, rng: np.random.Generator, groups: Positions | None = None
) -> Positions:
    """Return the part of each row, (N,), from 0 to count - 1, so that each tree can leave out some.

    No group is split, and neither is the part that a member holds out. A row that all members hold
    out is in no part, -1.

    Args:
        rows: N.
        split: of these rows.
        count: the number of parts. There are fewer if there are fewer groups.
        rng: the source of randomness.
        groups: (N,), the group of each row.
    """
    part_of_row = np.full(rows, -1)
    if len(split.parts) >= count:
        for number, part in enumerate(split.parts):
            part_of_row[part] = number % count
        return part_of_row
    own = split.train_rows
    if groups is not None:
        groups = np.unique(groups[own], return_inverse=True)[1]
    for number, part in enumerate(
        random_parts(len(own), np.full(count, len(own) / count), rng, groups)
    ):
        part_of_row[own[part]] = number
    return part_of_row


def random_parts(
    rows: int, sizes: Array, rng: np.random.Generator, groups: Positions | None = None
) -> list[Positions]:
    """Return the positions of all rows in random parts, without splitting a group.

    Args:
        rows: N.
        sizes: the number of rows that each part should have; with groups, parts differ from it.
        rng: the source of randomness.
        groups: (N,), the group of each row, numbered from 0.
    """
    if groups is not None:
        return _parts_of_whole_groups(groups, sizes, rng)
    return np.split(rng.permutation(rows), np.round(sizes.cumsum()[:-1]).astype(int))


def _parts_of_whole_groups(
    groups: Positions, sizes: Array, rng: np.random.Generator
) -> list[Positions]:
    """Return what `random_parts` does: the largest groups first, each to the emptiest part."""
    rows_of_group = np.bincount(groups)
    order = rng.permutation(len(rows_of_group))
    order = order[np.argsort(-rows_of_group[order], kind="stable")]
    part_of_group = np.empty(len(rows_of_group), dtype=np.int64)
    missing = sizes.astype(float)
    for group in order:
        part_of_group[group] = int(np.argmax(missing))
        missing[part_of_group[group]] -= rows_of_group[group]
    if not (part_of_group == 0).any():
        # The first part is smaller than any group, so it gets the smallest group.
        part_of_group[order[-1]] = 0
    part_of_row = part_of_group[groups]
    return [rng.permutation(np.flatnonzero(part_of_row == part)) for part in range(len(sizes))]


@dataclass(frozen=True)
class StandardizedRows:
    """N rows as the networks read them.

    Attributes:
        inputs: (N, P + I), as `Schema.inputs` returns them.
        y: (N, T), u of the targets, in training standard deviations from the training mean.
        weights: (N,), how much each row counts.
        periodic: P, the number of inputs that also get sines and cosines.
        category_inputs: the places of the inputs of each category: begin, `other` and end.
        log_scale: the sum of the logarithms of the targets' standard deviations.
        log_jacobian: (N,), log |dy/du|; None if no target has a bound.
        cells: what the values of a single target stand for, standardized; None for points of which
            the density is that on a line.
    """

    inputs: Array
    y: Array
    weights: Array
    periodic: int
    category_inputs: list[tuple[int, int, int]]
    log_scale: float = 0.0
    log_jacobian: Array | None = None
    cells: Cells | None = None

    @classmethod
    def of(cls, dataset: Dataset, schema: Schema) -> "StandardizedRows":
        """Return the rows of a dataset, standardized by its schema."""
        cells = schema.cells(dataset.y, dataset.known)
        log_jacobian = 0.0 if cells else schema.log_abs_det_jacobian(dataset.y)
        return cls(
            inputs=schema.inputs(dataset.x),
            y=schema.standardize_targets(dataset.y),
            weights=dataset.row_weights,
            periodic=schema.periodic_width,
            category_inputs=schema.category_inputs(),
            log_scale=float(np.log(schema.target_scales).sum()),
            log_jacobian=log_jacobian if isinstance(log_jacobian, np.ndarray) else None,
            cells=cells,
        )

    def cells_of(self, rows: Positions) -> Cells | None:
        """Return what the values of some rows stand for; see `cells`."""
        return None if self.cells is None else self.cells.rows(rows)

    def nll_offset(self, rows: Positions) -> float:
        """Return what to add to a mean NLL of y to get the mean NLL in the units of the file, nats.

        It is the sum of the log-scales, and with bounds the mean of log |dy/du| over these rows.
        With cells it is the mean of their `log_unit`.
        """
        if self.cells is not None and len(rows):
            return float(np.average(self.cells.log_unit[rows], weights=self.weights[rows]))
        if self.log_jacobian is None or not len(rows):
            return self.log_scale
        jacobian = np.average(self.log_jacobian[rows], weights=self.weights[rows])
        return self.log_scale + float(jacobian)


def seed_of(*numbers: int) -> int:
    """Return a seed that depends on every number."""
    [state] = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return int(state) >> 1
