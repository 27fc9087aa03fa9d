"""The rows as the networks take them: by mini-batches, each member its own."""

import torch
from torch import Tensor

from mdncli.density.network import Array
from mdncli.learning.splits import Split


class Batches:
    """Standardized rows, and which of them each member learns from or holds out.

    Args:
        x: (N, F).
        y: (N, T).
        split: positions in these.
        device: where the rows go.
    """

    def __init__(self, x: Array, y: Array, split: Split, device: torch.device) -> None:
        self.x, self.y = (torch.tensor(v, dtype=torch.float32, device=device) for v in (x, y))
        self.train = [torch.from_numpy(rows).to(device) for rows in split.train]
        self.valid = _padded([torch.from_numpy(rows).to(device) for rows in split.valid])
        lengths = torch.tensor([[len(rows)] for rows in split.valid], device=device)
        self.valid_share = torch.arange(self.valid.shape[1], device=device) < lengths
        self.members = len(split.train)
        self.holds_out = self.valid.numel() > 0

    @property
    def longest(self) -> int:
        """The number of training rows of the member that has most."""
        return max(len(rows) for rows in self.train)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return x, (M, F, B), and y, (M, T, B), of the rows at these positions, (M, B)."""
        x, y = (v[rows].transpose(1, 2).contiguous() for v in (self.x, self.y))
        return x, y

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
