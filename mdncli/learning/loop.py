"""The training loop: mini-batches, the learning rate, faults, when to stop, and threads."""

import contextlib
import copy
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from mdncli.learning.monitor import LoopState, Slot
from mdncli.learning.network import Perceptrons
from mdncli.learning.optimizer import AveragedAdam, Soap
from mdncli.learning.processes import Processes
from mdncli.learning.splits import Split, StandardizedRows
from mdncli.settings import Settings

Result = TypeVar("Result")

# Dropout ends at this share of the steps: with it, a sigma cannot become small.
_DROPOUT_UNTIL = 0.6
# Random numbers for dropout are drawn once; every step reads them from a random place on.
_DROPOUT_NUMBERS = 1 << 21
# More inputs than this are not embedded in advance, for they would fill the memory.
_MOST_EMBEDDED = 1 << 26
# Up to so many rows, a step of the finish reads all of them.
_ROWS_OF_WHOLE_BATCHES = 512
# The rate of the finish, as a multiple of the learning rate.
_RATE_OF_FINISH = 2.0
# The chance that a step reads a row's category as `other`.
_CATEGORY_DROPOUT = 0.03
_WARM_UP = 0.3
_AUTO_NOISE = 0.1
_STEPS_BETWEEN_CHECKS = 6
_FIRST_RATE, _LAST_RATE = 0.04, 0.001
_FAULTS_ALLOWED = 3
_RATE_AFTER_FAULT = 0.3
# A training loss this far above the best one is a fault, in nats per row, unless a target is so far
# out that its own loss, (y / sigma)^2 / 2, may rise by more while sigma is still about 1.
_LARGEST_RISE = 1e4
_ROWS_AT_ONCE = 8192
# Why learning stopped, the worst reason first.
_STOPPED = ("interrupted", "time", "faults", "patience", "epochs")
_LOCK = threading.Lock()

# From outputs (M, O, N) and targets (M, T, N) to losses (M, N) and their gradient (M, O, N).
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def in_threads(jobs: Sequence[Callable[[], Result]], threads: int) -> list[Result]:
    """Return what the jobs return, in their order, run by this many threads.

    A thread that works alone never waits for another one, so two fits side by side share the cores
    fairly. The results do not depend on the number of threads.
    """
    if threads == 1 or len(jobs) == 1:
        with one_core():
            return [job() for job in jobs]
    with ThreadPoolExecutor(threads, initializer=_set_threads_here, initargs=(1,)) as pool:
        return list(pool.map(lambda job: job(), jobs))


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Let PyTorch use one core in the current thread, inside the block."""
    before = torch.get_num_threads()
    _set_threads_here(1)
    try:
        yield
    finally:
        _set_threads_here(before)


def _set_threads_here(count: int) -> None:
    """Set PyTorch's number of threads in the current thread, and in no other.

    PyTorch keeps one number for each thread, and one with which a new thread begins.
    `set_num_threads` changes the current thread's and the initial one. A new thread reads the
    initial number and puts it back.
    """
    # PyTorch gives a thread the initial number at the thread's first use of it. After that, the
    # number that is set here stays.
    torch.get_num_threads()
    with _LOCK, ThreadPoolExecutor(1) as new_thread:
        initial = new_thread.submit(torch.get_num_threads).result()
        torch.set_num_threads(count)
        new_thread.submit(torch.set_num_threads, initial).result()


class Batches:
    """The rows as tensors, and the training rows and validation rows of each of M members.

    Args:
        rows: all N rows.
        split: positions in these rows.
        device: where the tensors are kept.
        embed: adds sines and cosines to inputs, (..., P + I).
        in_advance: whether to embed all rows at once, if they are not too many.

    Attributes:
        x: (N, E) or (N, P + I), the inputs of the networks, embedded in advance or not.
        y: (N, T), standardized.
        targets: (N, T), what the objective reads: y, or (N, 2), the ends of what a single target's
            values stand for.
        weights: (N,), how much each row counts.
        columns: the number of inputs and targets, P + I + T.
        train: the positions of the training rows of each member.
        valid: (M, V), the positions of the validation rows of each member. Shorter lists of rows
            are filled up by repeating them.
        valid_weights: (M, V), how much each validation row counts; 0 for a repeated one.
        processes: those that learn together.
    """

    processes = Processes()

    def __init__(
        self,
        rows: StandardizedRows,
        split: Split,
        device: torch.device,
        embed: Callable[[Tensor], Tensor] = lambda x: x,
        *,
        in_advance: bool = True,
    ) -> None:
        self.x, self.y, self.weights = (
            torch.tensor(array, dtype=torch.float32, device=device)
            for array in (rows.inputs, rows.y, rows.weights)
        )
        self.targets = self.y
        if rows.cells is not None:
            ends = np.stack([rows.cells.low, rows.cells.high], axis=1)
            self.targets = torch.tensor(ends, dtype=torch.float32, device=device)
        self.train = [torch.from_numpy(train).to(device) for train in split.train]
        self.valid = _padded([torch.from_numpy(valid).to(device) for valid in split.valid])
        lengths = torch.tensor([[len(valid)] for valid in split.valid], device=device)
        is_own = torch.arange(self.valid.shape[1], device=device) < lengths
        self.valid_weights = is_own * self.weights[self.valid]
        self.members = len(split.train)
        self.holds_out = self.valid.numel() > 0
        self._category_inputs = rows.category_inputs
        self.columns = self.x.shape[1] + self.y.shape[1]
        self._embed: Callable[[Tensor], Tensor] | None = embed
        if in_advance and embed(self.x[:1]).shape[1] * len(self.x) <= _MOST_EMBEDDED:
            self.x, self._embed = embed(self.x), None

    def of_members(self, chosen: slice) -> "Batches":
        """Return the batches of some members; the rows are shared."""
        some = copy.copy(self)
        some.train = self.train[chosen]
        some.valid, some.valid_weights = self.valid[chosen], self.valid_weights[chosen]
        some.members = len(some.train)
        return some

    @property
    def most_train_rows(self) -> int:
        """The number of training rows of the member that has most."""
        return max(len(rows) for rows in self.train)

    def take(
        self, rows: Tensor, change: Callable[[Tensor], Tensor] = lambda x: x
    ) -> tuple[Tensor, Tensor]:
        """Return x, (M, E, B), and the targets, (M, T, B), of the rows at these positions, (M, B).

        Args:
            rows: the positions.
            change: is applied to the inputs, before they are embedded if that is not done yet.
        """
        x = change(self.x[rows])
        x = x if self._embed is None else self._embed(x)
        return x.transpose(1, 2).contiguous(), self.targets[rows].transpose(1, 2).contiguous()

    def drop_categories(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Replace the category of some rows by `other`, in place, and return x, (M, E, B).

        So the networks learn a mean over all levels for `other`, even if no level is rare.
        """
        for begin, other, end in self._category_inputs:
            random = torch.rand((x.shape[0], 1, x.shape[2]), generator=generator).to(x)
            dropped = (random < _CATEGORY_DROPOUT).to(x)
            x[:, begin:end] *= 1.0 - dropped
            x[:, other : other + 1] += dropped
        return x

    def epoch(self, number: int, steps: int, generator: torch.Generator) -> Iterable[Tensor]:
        """Return the positions of the training rows of every step of an epoch, (M, B).

        Each member reads its rows in random order. A member that has fewer rows than another one
        repeats its first ones.

        Args:
            number: of the epoch, from 0.
            steps: of the epoch.
            generator: of the order.
        """
        order = [
            rows[torch.randperm(len(rows), generator=generator).to(rows)] for rows in self.train
        ]
        return _padded(order).tensor_split(steps, 1)

    def rows_of_step(self, rows: Tensor) -> float:
        """Return the number of rows, (M, B), of which the gradient of a step is the mean."""
        return rows.shape[1]


def _padded(lists: list[Tensor]) -> Tensor:
    """Return lists of positions as the rows of one tensor, the shorter ones repeated."""
    most = max(len(rows) for rows in lists)
    if all(len(rows) == most for rows in lists):
        return torch.stack(lists)
    return torch.stack([rows.repeat(-(-most // max(1, len(rows))))[:most] for rows in lists])


@dataclass(frozen=True)
class Problem:
    """What a training loop minimizes: the mean of an objective over rows, by these networks."""

    networks: Perceptrons
    objective: Objective
    batches: Batches


@dataclass
class LoopResult:
    """How a training loop ended.

    Attributes:
        stopped: why: `epochs`, `patience`, `time`, `interrupted` or `faults`.
        best_epochs: of each member, the epoch (from 1) whose weights its network has; 0 if no epoch
            ended with a finite loss.
        faults: the number of epochs that were undone.
        train_losses, valid_losses: the mean loss over rows of each epoch, as the objective gives
            it.
    """

    stopped: str
    best_epochs: list[int]
    faults: int = 0
    train_losses: list[float] = field(default_factory=list)
    valid_losses: list[float] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether a network has no weights from an epoch that ended with a finite loss."""
        return not all(self.best_epochs)


def history_of(
    results: Sequence[LoopResult], train_offset: float, valid_offset: float
) -> dict[str, Any]:
    """Return the fields of a `TrainingRecord` that say how several loops went together.

    Args:
        results: of the loops.
        train_offset, valid_offset: what to add to losses to get NLLs in the units of the file.
    """
    epochs = min(len(result.train_losses) for result in results)

    def mean(losses: Sequence[list[float]], offset: float) -> list[float]:
        values: list[float] = (
            np.mean([each[:epochs] for each in losses], axis=0) + offset
        ).tolist()
        return values

    return {
        "epochs": epochs,
        "best_epochs": [min(best, epochs) for result in results for best in result.best_epochs],
        "stopped": min((result.stopped for result in results), key=_STOPPED.index),
        "faults": sum(result.faults for result in results),
        "history": {
            "nll_train": mean([result.train_losses for result in results], train_offset),
            "nll_valid": mean([result.valid_losses for result in results], valid_offset),
        },
    }


class TrainingLoop:
    """Minimizes an objective by mini-batches, with a one-cycle learning rate.

    Its state can be kept after any epoch, and a loop of the same problem goes on from it exactly.

    The learning rate rises to its peak and falls to almost zero, each as half a cosine (Smith and
    Topin 2018). Each network is judged by the loss of its averaged weights on its validation rows.

    Args:
        problem: what to minimize.
        settings: of the fit.
        generator: of the order of rows, of noise and of dropout.
        slot: keeps the state; what it has kept is where this loop goes on.

    Attributes:
        epochs: the largest number of epochs.
        result: how it went so far.
    """

    def __init__(
        self,
        problem: Problem,
        settings: Settings,
        generator: torch.Generator,
        slot: Slot | None = None,
    ) -> None:
        self._networks, self._objective = problem.networks, problem.objective
        self._batches = batches = problem.batches
        self._settings, self._generator = settings, generator
        rows = batches.most_train_rows
        self._steps_per_epoch = settings.steps_per_epoch(rows)
        self.epochs = self._epochs_of_cycle = settings.epochs_for(rows)
        self._patience = settings.patience_for(rows)
        self._check_every = self._epochs_between_checks()
        self._peak_rate = settings.lr
        self._optimizer = AveragedAdam(
            self._networks, batches.y.device, weight_decay=settings.weight_decay
        )
        self._forward = batches.processes.in_parallel(self._networks, self._optimizer)
        self._largest_rise = max(_LARGEST_RISE, float(batches.y.abs().max()) ** 2)
        self._steps = 0
        self.result = LoopResult("epochs", [0] * batches.members)
        self._best_losses = torch.full((batches.members,), math.inf, dtype=torch.float64)
        self._best_weights = self._optimizer.average.clone()
        self._kept = torch.empty(0)
        if settings.dropout:
            keep = 1.0 - settings.dropout
            self._kept = torch.empty(_DROPOUT_NUMBERS).bernoulli_(keep, generator=generator) / keep
        self._slot, self._phase, self._epochs_done = slot, "run", 0
        self._state_kept = slot.kept() if slot is not None else None
        if self._state_kept is not None:
            self._set_state(self._state_kept)

    def run(
        self, on_epoch: Callable[[int, float, float], None], reason_to_stop: Callable[[], str]
    ) -> LoopResult:
        """Train, and return how it went.

        In the end each network has the averaged weights of its best epoch, or of the last epoch if
        no rows are held out.

        Args:
            on_epoch: is called with the epoch (from 1), the training loss and the validation loss
                after every epoch without a fault. The validation loss is NaN if no rows are held
                out.
            reason_to_stop: is called after every step; a text that is not empty ends the training.
        """
        return self.result if self._phase != "run" else self._run(on_epoch, reason_to_stop)

    def _run(
        self, on_epoch: Callable[[int, float, float], None], reason_to_stop: Callable[[], str]
    ) -> LoopResult:
        result, optimizer = self.result, self._optimizer
        good = optimizer.state()
        while self._epochs_done < self._epochs_of_cycle and result.stopped == "epochs":
            epochs = min(self._check_every, self._epochs_of_cycle - self._epochs_done)
            self._epochs_done += epochs
            train_loss = self._run_epochs(epochs, reason_to_stop)
            valid_losses = self._losses_of(optimizer.average)
            if not self._is_good(train_loss, valid_losses):
                result.faults += 1
                optimizer.restore(good)
                self._peak_rate *= _RATE_AFTER_FAULT
                if result.faults == _FAULTS_ALLOWED:
                    result.stopped = "faults"
                    break
                continue
            good = optimizer.state()
            self._record(train_loss, valid_losses, epochs)
            on_epoch(len(result.train_losses), train_loss, result.valid_losses[-1])
            reason = reason_to_stop()
            result.stopped = self._reason_to_end(reason)
            if self._slot is not None and not reason:
                self._slot.keep(self._state)
        optimizer.weights.copy_(self._best_weights)
        return result

    def finish(
        self,
        steps: int,
        on_epoch: Callable[[int, float, float], None],
        reason_to_stop: Callable[[], str],
    ) -> None:
        """Go on with Soap from the best weights, without dropout.

        Where the features tell y almost exactly, sigma can only become as small as the mean is
        exact, which this optimizer reaches much sooner.

        Args:
            steps: the number of steps.
            on_epoch, reason_to_stop: as for `run`.
        """
        if self._phase == "done":
            return
        self._optimizer = Soap(
            self._networks, self._batches.y.device, weight_decay=self._settings.weight_decay
        )
        self._forward = self._batches.processes.in_parallel(self._networks, self._optimizer)
        self._kept, self._steps = torch.empty(0), 0
        rows = self._batches.most_train_rows
        if rows <= _ROWS_OF_WHOLE_BATCHES:
            self._steps_per_epoch = 1
        self._epochs_of_cycle = max(2, math.ceil(steps / self._steps_per_epoch))
        self._check_every = self._epochs_between_checks()
        self._patience = self._epochs_of_cycle
        self.epochs = len(self.result.train_losses) + self._epochs_of_cycle
        self._peak_rate = _RATE_OF_FINISH * self._settings.lr
        self.result.stopped, self._epochs_done = "epochs", 0
        if self._phase == "finish" and self._state_kept is not None:
            self._set_state(self._state_kept)
        self._phase = "finish"
        self._run(on_epoch, reason_to_stop)

    def close(self) -> None:
        """Keep that this loop is done, with its result."""
        self._phase = "done"
        if self._slot is not None:
            self._slot.close(self._state)

    def _state(self) -> LoopState:
        """Return a copy of all that later steps depend on."""
        tensors = {"best_losses": self._best_losses, "best_weights": self._best_weights}
        if self._phase != "done":
            tensors |= self._optimizer.tensors()
            tensors["generator"] = self._generator.get_state()
        plain = {
            "phase": self._phase,
            "epochs_done": self._epochs_done,
            "steps": self._steps,
            "peak_rate": self._peak_rate,
            "optimizer_steps": self._optimizer.steps,
            "result": asdict(self.result),
        }
        return LoopState(plain, {name: each.cpu().clone() for name, each in tensors.items()})

    def _set_state(self, state: LoopState) -> None:
        """Go on from a state; that of the optimizer is set once there is the right one."""
        plain, tensors = state.plain, dict(state.tensors)
        self._phase, self.result = plain["phase"], LoopResult(**plain["result"])
        self._best_losses = tensors.pop("best_losses")
        self._best_weights.copy_(tensors.pop("best_weights"))
        self._optimizer.weights.copy_(self._best_weights)
        if (
            isinstance(self._optimizer, Soap) == (self._phase == "finish")
            and "generator" in tensors
        ):
            self._generator.set_state(tensors.pop("generator"))
            self._epochs_done, self._steps = plain["epochs_done"], plain["steps"]
            self._peak_rate = plain["peak_rate"]
            self._optimizer.set_tensors(tensors, plain["optimizer_steps"])

    def _epochs_between_checks(self) -> int:
        """Return several in a ladder on a small table, where validation takes as long as an epoch.

        A single network is judged after every epoch.
        """
        several = max(1, _STEPS_BETWEEN_CHECKS // self._steps_per_epoch)
        return several if self._settings.ladder else 1

    @property
    def best_loss(self) -> float:
        """The mean validation loss of the weights that the members keep."""
        return self._mean_over_rows(self._best_losses)

    def _reason_to_end(self, reason: str) -> str:
        # An epoch with a fault is not counted, so that the numbers match the history.
        since_best = len(self.result.train_losses) - max(self.result.best_epochs)
        return reason or ("patience" if since_best >= self._patience else "epochs")

    def _is_good(self, train_loss: float, valid_losses: Tensor) -> bool:
        judged = valid_losses if self._batches.holds_out else torch.zeros(1)
        finite = math.isfinite(train_loss) and bool(torch.isfinite(judged).all())
        best = min(self.result.train_losses, default=math.inf)
        return finite and train_loss <= best + self._largest_rise

    def _record(self, train_loss: float, valid_losses: Tensor, epochs: int) -> None:
        """Add epochs to the history, and keep the weights of the members that they improved."""
        result = self.result
        result.train_losses += [train_loss] * epochs
        result.valid_losses += [self._mean_over_rows(valid_losses)] * epochs
        better = valid_losses < self._best_losses
        if not self._batches.holds_out:
            better = torch.ones_like(better)
        self._best_losses = torch.where(better, valid_losses, self._best_losses)
        for member in better.nonzero().flatten().tolist():
            self._best_weights[member] = self._optimizer.average[member]
            result.best_epochs[member] = len(result.train_losses)

    def _mean_over_rows(self, valid_losses: Tensor) -> float:
        """Return the weighted mean over all validation rows, from the mean of each member."""
        weights = self._batches.valid_weights.sum(1).cpu()
        return float((valid_losses * weights).sum() / weights.sum())

    def _run_epochs(self, epochs: int, reason_to_stop: Callable[[], str]) -> float:
        """Read the training rows `epochs` times; return their mean loss, NaN if a step failed."""
        batches = self._batches
        total, seen = torch.zeros((2,), dtype=torch.float64, device=batches.y.device)
        noise_x, noise_y = self._noise
        first = self._epochs_done - epochs
        every = [
            batches.epoch(first + number, self._steps_per_epoch, self._generator)
            for number in range(epochs)
        ]
        for rows in itertools.chain.from_iterable(every):
            x, y = batches.take(rows, lambda x: self._plus_noise(x, noise_x))
            x = batches.drop_categories(x, self._generator)
            raw = self._forward(x, self._dropout if self._drops else None)
            losses, gradient = self._objective(raw, self._moved(y, noise_y))
            weights = batches.weights[rows]
            gradient *= weights[:, None] / batches.rows_of_step(rows)
            self._steps += 1
            if not self._optimizer.step(raw, gradient, self._rate()):
                return math.nan
            total += (losses * weights).sum()
            seen += weights.sum()
            # Several processes would have to agree on it, which takes as long as a small step.
            if batches.processes.count == 1 and reason_to_stop():
                break
        total, seen = batches.processes.sum(torch.stack([total, seen]).cpu().numpy())
        return float(total / seen)

    @property
    def _noise(self) -> tuple[float, float]:
        """The noise on x and on y; the rate of `auto` is that of Rothfuss et al. (2019)."""
        rows, columns = self._batches.most_train_rows, self._batches.columns
        auto = _AUTO_NOISE * rows ** (-1.0 / (4 + columns))
        given = self._settings.noise_x, self._settings.noise_y
        on_x, on_y = (auto if each == "auto" else each for each in given)
        return on_x, on_y

    def _plus_noise(self, values: Tensor, std: float) -> Tensor:
        """Return values plus fresh noise (Rothfuss et al. 2019, algorithm 1)."""
        if not std:
            return values
        return values + std * torch.randn(values.shape, generator=self._generator).to(values)

    def _moved(self, targets: Tensor, std: float) -> Tensor:
        """Return targets plus fresh noise; both ends of what a value stands for move alike."""
        if not std or self._batches.targets is self._batches.y:
            return self._plus_noise(targets, std)
        return targets + self._plus_noise(torch.zeros_like(targets[:, :1]), std)

    def _dropout(self, hidden: Tensor) -> Tensor:
        """Return hidden units, some set to zero, the rest scaled up (Srivastava et al. 2014)."""
        count = hidden.numel()
        if count >= len(self._kept):
            self._kept = self._kept.repeat(1 + count // len(self._kept))
        start = int(torch.randint(len(self._kept) - count, (1,), generator=self._generator))
        return hidden * self._kept[start : start + count].view(hidden.shape).to(hidden)

    @property
    def _drops(self) -> bool:
        return len(self._kept) > 0 and self._done < _DROPOUT_UNTIL

    @property
    def _done(self) -> float:
        """The share of the steps that are done."""
        return self._steps / (self._epochs_of_cycle * self._steps_per_epoch)

    def _rate(self) -> float:
        done = self._done
        if done < _WARM_UP:
            start, end, part = _FIRST_RATE, 1.0, done / _WARM_UP
        else:
            start, end, part = 1.0, _LAST_RATE, (done - _WARM_UP) / (1.0 - _WARM_UP)
        return self._peak_rate * (end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * part)))

    @torch.no_grad()
    def _losses_of(self, at: Tensor) -> Tensor:
        """Return the mean validation loss of each member with these weights, (M, P); (M,)."""
        batches = self._batches
        total = torch.zeros(batches.members, dtype=torch.float64, device=batches.y.device)
        at_once = max(1, _ROWS_AT_ONCE // batches.members)
        with self._optimizer.replaced(at):
            for rows, weights in zip(
                torch.split(batches.valid, at_once, 1),
                torch.split(batches.valid_weights, at_once, 1),
                strict=True,
            ):
                x, y = batches.take(rows)
                total += (self._objective(self._networks(x), y)[0] * weights).sum(1)
        losses = (total / batches.valid_weights.sum(1)).cpu()
        return torch.from_numpy(batches.processes.first(losses.numpy()))
