"""One network led down one objective: the epochs, the learning rate, faults, and when to stop."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mdncli.density.network import Array
from mdncli.learning.network import Perceptron
from mdncli.learning.optimizer import AveragedAdam
from mdncli.settings import Settings

_WARM_UP = 0.3
_FIRST_RATE, _LAST_RATE = 0.04, 0.001
_FAULTS_ALLOWED = 3
_RATE_AFTER_FAULT = 0.3
_ROWS_AT_ONCE = 8192

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Rows:
    """Standardized rows of one split: x (N, F) and y (N, T), float32."""

    x: Tensor
    y: Tensor

    @classmethod
    def of(cls, x: Array, y: Array, device: torch.device) -> "Rows":
        """Return these rows on a device."""
        return cls(*(torch.tensor(v, dtype=torch.float32, device=device) for v in (x, y)))

    def __len__(self) -> int:
        return len(self.y)


@dataclass
class Outcome:
    """How a descent ended; losses are means over rows, as the objective gives them.

    `stopped` is `epochs`, `patience`, `interrupted` or `faults`; `best_epoch`, from 1, is the one
    whose weights the network holds, or 0 when not one epoch ended with a finite loss.
    """

    stopped: str = "epochs"
    best_epoch: int = 0
    faults: int = 0
    train_losses: list[float] = field(default_factory=list)
    valid_losses: list[float] = field(default_factory=list)


class Descent:
    """Leads a network down an objective by mini-batches, with a one-cycle learning rate.

    The rate climbs to its peak and falls to almost nothing, both as half a cosine (Smith and Topin
    2018). The network is judged by the running average of its weights.
    """

    def __init__(
        self,
        network: Perceptron,
        objective: Objective,
        train: Rows,
        valid: Rows,
        settings: Settings,
        generator: torch.Generator,
        stop: Callable[[], bool],
    ) -> None:
        self._network = network
        self._objective = objective
        self._train, self._valid = train, valid
        self._generator = generator
        self._stop = stop
        self._batches = settings.steps_per_epoch(len(train))
        self.epochs = settings.epochs_for(len(train))
        self._patience = settings.patience_for(len(train))
        self._peak = settings.lr
        self._optimizer = AveragedAdam(
            network, train.y.device, weight_decay=settings.weight_decay_for(len(train))
        )
        self._steps = 0
        self.outcome = Outcome()

    def run(self) -> Iterator[tuple[int, float, float]]:
        """Yield (epoch, training loss, validation loss) after every epoch that ended well.

        The validation loss is NaN when no rows are held out. At the end the network holds the
        averaged weights of its best epoch (of the last, when no rows are held out), and `outcome`
        says how it went.
        """
        outcome, optimizer = self.outcome, self._optimizer
        best_loss, best_weights = math.inf, optimizer.average.clone()
        good = optimizer.state()
        for _ in range(self.epochs):
            train_loss = self._epoch()
            valid_loss = self._loss_of_average(self._valid)
            judged = valid_loss if len(self._valid) else train_loss
            if not (math.isfinite(train_loss) and math.isfinite(judged)):
                outcome.faults += 1
                optimizer.put_back(good)
                self._peak *= _RATE_AFTER_FAULT
                if outcome.faults == _FAULTS_ALLOWED:
                    outcome.stopped = "faults"
                    break
                continue
            good = optimizer.state()
            outcome.train_losses.append(train_loss)
            outcome.valid_losses.append(valid_loss)
            # An epoch that met a fault is not counted, so that numbers match the history.
            epoch = len(outcome.train_losses)
            if judged < best_loss or not len(self._valid):
                best_loss, best_weights, outcome.best_epoch = judged, good[1], epoch
            yield epoch, train_loss, valid_loss
            if self._stop():
                outcome.stopped = "interrupted"
                break
            if epoch - outcome.best_epoch >= self._patience:
                outcome.stopped = "patience"
                break
        optimizer.weights.copy_(best_weights)

    def _epoch(self) -> float:
        """Take one pass over the training rows; return its mean loss, NaN if a step went wrong."""
        train = self._train
        order = torch.randperm(len(train), generator=self._generator).to(train.y.device)
        total = torch.zeros((), dtype=torch.float64, device=train.y.device)
        seen = 0
        for batch in order.tensor_split(self._batches):
            raw = self._network(train.x.index_select(0, batch))
            losses, gradient = self._objective(raw, train.y.index_select(0, batch))
            self._steps += 1
            if not self._optimizer.step(raw, gradient / len(batch), self._rate()):
                return math.nan
            total += losses.sum()
            seen += len(batch)
            if self._stop():
                break
        return float(total) / seen

    def _rate(self) -> float:
        done = self._steps / (self.epochs * self._batches)
        if done < _WARM_UP:
            start, end, part = _FIRST_RATE, 1.0, done / _WARM_UP
        else:
            start, end, part = 1.0, _LAST_RATE, (done - _WARM_UP) / (1.0 - _WARM_UP)
        return self._peak * (end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * part)))

    @torch.no_grad()
    def _loss_of_average(self, rows: Rows) -> float:
        if not len(rows):
            return math.nan
        with self._optimizer.averaged():
            total = 0.0
            for x, y in zip(
                torch.split(rows.x, _ROWS_AT_ONCE), torch.split(rows.y, _ROWS_AT_ONCE), strict=True
            ):
                total += float(self._objective(self._network(x), y)[0].sum())
        return total / len(rows)
