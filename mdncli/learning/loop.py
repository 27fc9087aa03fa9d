"""The rows as the networks take them: by mini-batches, each member its own.

Networks led down an objective: the epochs, the learning rate, faults, and when to stop.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mdncli.learning.network import Perceptrons
from mdncli.learning.optimizer import AveragedAdam
from mdncli.learning.splits import Split
from mdncli.settings import Settings
from mdncli.types import Array

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


_WARM_UP = 0.3
_FIRST_RATE, _LAST_RATE = 0.04, 0.001
_FAULTS_ALLOWED = 3
_RATE_AFTER_FAULT = 0.3
# Nats a row above the best so far. A target far off costs (y / floor)^2 / 2 at worst, and no table
# that learns is ever this far from where it has been.
_BLOWN_UP = 1e4
_ROWS_AT_ONCE = 8192

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class Outcome:
    """How a descent ended; losses are means over rows, as the objective gives them.

    `stopped` is `epochs`, `patience`, `time`, `interrupted` or `faults`; `best_epochs`, from 1, are
    those whose weights each network holds, or 0 when not one epoch ended with a finite loss.
    """

    stopped: str
    best_epochs: list[int]
    faults: int = 0
    train_losses: list[float] = field(default_factory=list)
    valid_losses: list[float] = field(default_factory=list)


class Descent:
    """Leads networks down an objective by mini-batches, with a one-cycle learning rate.

    The rate climbs to its peak and falls to almost nothing, both as half a cosine (Smith and Topin
    2018). The networks are judged by the running average of their weights, each by its own rows.
    """

    def __init__(
        self,
        networks: Perceptrons,
        objective: Objective,
        batches: Batches,
        settings: Settings,
        generator: torch.Generator,
        stop: Callable[[], str],
    ) -> None:
        rows = batches.longest
        self._networks, self._objective, self._batches = networks, objective, batches
        self._settings, self._generator, self._stop = settings, generator, stop
        self._steps_per_epoch = settings.steps_per_epoch(rows)
        self.epochs = settings.epochs_for(rows)
        self._patience = settings.patience_for(rows)
        self._peak = settings.lr
        self._optimizer = AveragedAdam(
            networks, batches.y.device, weight_decay=settings.weight_decay
        )
        self._steps = 0
        self.outcome = Outcome("epochs", [0] * batches.members)
        self._best_losses = torch.full((batches.members,), math.inf, dtype=torch.float64)
        self._best_weights = self._optimizer.average.clone()

    def run(self) -> Iterator[tuple[int, float, float]]:
        """Yield (epoch, training loss, validation loss) after every epoch that ended well.

        The validation loss is NaN when no rows are held out. At the end each network holds the
        averaged weights of its best epoch (of the last, when no rows are held out), and `outcome`
        says how it went.
        """
        outcome, optimizer = self.outcome, self._optimizer
        good = optimizer.state()
        for _ in range(self.epochs):
            train_loss = self._epoch()
            valid_losses = self._losses_of_average()
            if not self._went_well(train_loss, valid_losses):
                outcome.faults += 1
                optimizer.put_back(good)
                self._peak *= _RATE_AFTER_FAULT
                if outcome.faults == _FAULTS_ALLOWED:
                    outcome.stopped = "faults"
                    break
                continue
            good = optimizer.state()
            outcome.train_losses.append(train_loss)
            outcome.valid_losses.append(self._mean_over_rows(valid_losses))
            # An epoch that met a fault is not counted, so that numbers match the history.
            epoch = len(outcome.train_losses)
            self._keep_the_best(epoch, valid_losses)
            yield epoch, train_loss, outcome.valid_losses[-1]
            outcome.stopped = self._stop() or outcome.stopped
            if outcome.stopped == "epochs" and epoch - max(outcome.best_epochs) >= self._patience:
                outcome.stopped = "patience"
            if outcome.stopped != "epochs":
                break
        optimizer.weights.copy_(self._best_weights)

    def _went_well(self, train_loss: float, valid_losses: Tensor) -> bool:
        judged = valid_losses if self._batches.holds_out else torch.zeros(1)
        finite = math.isfinite(train_loss) and bool(torch.isfinite(judged).all())
        return finite and train_loss <= min(self.outcome.train_losses, default=math.inf) + _BLOWN_UP

    def _keep_the_best(self, epoch: int, valid_losses: Tensor) -> None:
        better = valid_losses < self._best_losses
        if not self._batches.holds_out:
            better = torch.ones_like(better)
        self._best_losses = torch.where(better, valid_losses, self._best_losses)
        for member in better.nonzero().flatten().tolist():
            self._best_weights[member] = self._optimizer.average[member]
            self.outcome.best_epochs[member] = epoch

    def _mean_over_rows(self, valid_losses: Tensor) -> float:
        """Return the weighted mean over all rows held out, from each member's over its own."""
        rows = self._batches.valid_share.sum(1).cpu()
        return float((valid_losses * rows).sum() / rows.sum())

    def _epoch(self) -> float:
        """Take one pass over the training rows; return its mean loss, NaN if a step went wrong."""
        batches = self._batches
        total, seen = torch.zeros((2,), dtype=torch.float64, device=batches.y.device)
        order = batches.shuffled(self._generator)
        for rows in order.tensor_split(self._steps_per_epoch, 1):
            x, y = batches.take(rows)
            x, y = self._noisy(batches.forget_some(x, self._generator), y)
            raw = self._networks(x, self._leave_out if self._settings.dropout else None)
            losses, gradient = self._objective(raw, y)
            weights = batches.weights[rows]
            gradient *= weights[:, None] / rows.shape[1]
            self._steps += 1
            if not self._optimizer.step(raw, gradient, self._rate()):
                return math.nan
            total += (losses * weights).sum()
            seen += weights.sum()
            if self._stop():
                break
        return float(total / seen)

    def _noisy(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows with fresh noise on them (Rothfuss et al. 2019, algorithm 1)."""
        columns = x.shape[1] + y.shape[1]
        on_x, on_y = self._settings.noise_for(self._batches.longest, columns)
        return self._plus_noise(x, on_x), self._plus_noise(y, on_y)

    def _plus_noise(self, values: Tensor, std: float) -> Tensor:
        if not std:
            return values
        return values + std * torch.randn(values.shape, generator=self._generator).to(values)

    def _leave_out(self, hidden: Tensor) -> Tensor:
        """Return the hidden units with some at zero, the others larger (Srivastava et al. 2014)."""
        keep = 1.0 - self._settings.dropout
        kept = torch.empty(hidden.shape).bernoulli_(keep, generator=self._generator)
        return hidden * kept.to(hidden).div_(keep)

    def _rate(self) -> float:
        done = self._steps / (self.epochs * self._steps_per_epoch)
        if done < _WARM_UP:
            start, end, part = _FIRST_RATE, 1.0, done / _WARM_UP
        else:
            start, end, part = 1.0, _LAST_RATE, (done - _WARM_UP) / (1.0 - _WARM_UP)
        return self._peak * (end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * part)))

    @torch.no_grad()
    def _losses_of_average(self) -> Tensor:
        """Return the mean loss of each member's averaged weights on the rows it holds out, (M,)."""
        batches = self._batches
        total = torch.zeros(batches.members, dtype=torch.float64, device=batches.y.device)
        at_once = max(1, _ROWS_AT_ONCE // batches.members)
        with self._optimizer.averaged():
            for rows, share in zip(
                torch.split(batches.valid, at_once, 1),
                torch.split(batches.valid_share, at_once, 1),
                strict=True,
            ):
                x, y = batches.take(rows)
                total += (self._objective(self._networks(x), y)[0] * share).sum(1)
        return (total / batches.valid_share.sum(1)).cpu()
