"""The rows as the networks take them: by mini-batches, each member its own."""

import torch
from torch import Tensor

from mdncli.density.network import Array
from mdncli.learning.splits import Split

# The chance that a row's category is turned into `other` for a step.
_FORGOTTEN = 0.03


class Batches:
    """The rows as the networks read them, and which of them each member learns from or holds out.

    Args:
        inputs: (N, P + I), as `Schema.inputs` gives them.
        y: (N, T), standardized.
        weights: (N,), how much each row counts.
        split: positions in these.
        categories: of each, where its inputs begin, its `other` is, and they end.
        device: where the rows go.
    """

    def __init__(
        self,
        inputs: Array,
        y: Array,
        weights: Array,
        split: Split,
        categories: list[tuple[int, int, int]],
        device: torch.device,
    ) -> None:
        self.x, self.y, self.weights = (
            torch.tensor(v, dtype=torch.float32, device=device) for v in (inputs, y, weights)
        )
        self.train = [torch.from_numpy(rows).to(device) for rows in split.train]
        self.valid = _padded([torch.from_numpy(rows).to(device) for rows in split.valid])
        lengths = torch.tensor([[len(rows)] for rows in split.valid], device=device)
        there = torch.arange(self.valid.shape[1], device=device) < lengths
        self.valid_share = there * self.weights[self.valid]
        self.members = len(split.train)
        self.holds_out = self.valid.numel() > 0
        self._categories = categories

    @property
    def longest(self) -> int:
        """The number of training rows of the member that has most."""
        return max(len(rows) for rows in self.train)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return x, (M, F, B), and y, (M, T, B), of the rows at these positions, (M, B)."""
        x, y = (v[rows].transpose(1, 2).contiguous() for v in (self.x, self.y))
        return x, y

    def forget_some(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return inputs, (M, P + I, B), with some rows' categories turned into `other`, in place.

        So `other` is learned from, as the mean over all levels, even where no level is rare.
        """
        for begin, other, end in self._categories:
            chance = torch.rand((x.shape[0], 1, x.shape[2]), generator=generator).to(x)
            forgotten = (chance < _FORGOTTEN).to(x)
            x[:, begin:end] *= 1.0 - forgotten
            x[:, other : other + 1] += forgotten
        return x

    def shuffled(self, generator: torch.Generator) -> Tensor:
        """Return an order of each member's training rows, (M, longest).

        A member that has fewer meets its first ones again.
        """
        return _padded(
            [rows[torch.randperm(len(rows), generator=generator).to(rows)] for rows in self.train]
        )


def _padded(rows: list[Tensor]) -> Tensor:
    """Return lists of positions as one tensor, the shorter ones begun anew."""
    longest = max(len(each) for each in rows)
    return torch.stack([each.repeat(-(-longest // max(1, len(each))))[:longest] for each in rows])
