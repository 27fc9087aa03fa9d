"""Learning: from rows to a conditional density, one record an epoch."""

import contextlib
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter

import numpy as np
import torch

from mdncli.density.model import Baseline, ConditionalDensity, TrainingRecord
from mdncli.density.network import Architecture, Array
from mdncli.errors import DataError, UsageError
from mdncli.learning.descent import Descent, Objective, Outcome, Rows
from mdncli.learning.network import Perceptron
from mdncli.learning.objective import nll_and_gradient, squares_and_gradient
from mdncli.settings import SIGMA_FLOOR, Settings
from mdncli.tables.schema import Schema


@dataclass(frozen=True)
class Epoch:
    """What an epoch ended with.

    Attributes:
        stage: `mixture`, or `baseline` for the least-squares fit.
        epoch: from 1.
        epochs: at most.
        nll_train: nats a row in the units of the file, measured while the weights moved.
        nll_valid: likewise on the rows held out, of the averaged weights; NaN if there are none.
        seconds: of learning so far.
    """

    stage: str
    epoch: int
    epochs: int
    nll_train: float
    nll_valid: float
    seconds: float


def fit(
    x: Array,
    y: Array,
    schema: Schema,
    settings: Settings,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[Epoch, None, ConditionalDensity]:
    """Learn p(y | x): yield a record after every epoch, return the density.

    Args:
        x: (N, F), finite, in the units of the file, the columns of `schema.features`.
        y: (N, T), finite, likewise of `schema.targets`.
        schema: of these rows.
        settings: what is asked for.
        stop: asked after every step; once it says True, learning ends with the best so far.

    Raises:
        UsageError: CUDA was asked for and there is none.
        DataError: not one epoch ended with a finite loss.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    device = _device(settings.device)
    order = torch.randperm(len(y), generator=generator).numpy()
    valid_rows = min(len(y) - 1, max(1, round(settings.valid * len(y)))) if settings.valid else 0
    split = order[valid_rows:], order[:valid_rows]
    train, valid = (
        Rows.of(schema.standardize_features(x[part]), schema.standardize_targets(y[part]), device)
        for part in split
    )
    lesson = Lesson(train, valid, schema, settings, generator, stop)
    with _threads(settings.threads):
        network, outcome = yield from lesson.mixture()
        baseline = None
        if settings.baseline and not stop():
            baseline = yield from lesson.least_squares()
        if settings.baseline and stop():
            outcome.stopped, baseline = "interrupted", None
    record = lesson.record(outcome)
    density = ConditionalDensity(
        schema, lesson.architecture, network.for_answers(), settings.to_plain(), record, baseline
    )
    nll_train, nll_valid = (density.mean_nll(x[part], y[part]) for part in split)
    return replace(density, record=replace(record, nll_train=nll_train, nll_valid=nll_valid))


class Lesson:
    """The networks of one fit, taught on the same rows from one stream of random numbers."""

    def __init__(
        self,
        train: Rows,
        valid: Rows,
        schema: Schema,
        settings: Settings,
        generator: torch.Generator,
        stop: Callable[[], bool],
    ) -> None:
        self.architecture = Architecture(
            mixtures=settings.mixtures,
            hidden=settings.hidden,
            activation=settings.activation,
            covariance=settings.covariance,
            sigma_floor=SIGMA_FLOOR,
            frequencies=settings.frequencies,
        )
        self._train, self._valid = train, valid
        self._schema, self._settings = schema, settings
        self._generator, self._stop = generator, stop
        self._started = perf_counter()
        # The change from standardized targets to the units of the file: a constant, in nats.
        self._log_units = float(np.log(schema.target_scales).sum())

    def mixture(self) -> Generator[Epoch, None, tuple[Perceptron, Outcome]]:
        """Teach the mixture density network."""
        network = self._network(self.architecture.head_width(len(self._schema.targets)))
        network.spread_components(self._train.y.cpu(), self._generator)
        objective = partial(nll_and_gradient, architecture=self.architecture, scale_means=True)
        outcome = yield from self._teach("mixture", network, objective, self._mixture_nll)
        if not outcome.best_epoch:
            raise DataError(
                "Learning met NaN or inf in every epoch and nothing is written. "
                "Look for extreme values with a plot, or lower --lr."
            )
        return network, outcome

    def least_squares(self) -> Generator[Epoch, None, Baseline]:
        """Teach the same trunk by least squares."""
        network = self._network(len(self._schema.targets))
        outcome = yield from self._teach(
            "baseline", network, squares_and_gradient, self._least_squares_nll
        )
        if not outcome.best_epoch:
            raise DataError("The least-squares baseline met NaN or inf; fit without --baseline.")
        judged = self._valid if len(self._valid) else self._train
        with torch.no_grad():
            errors = (network(judged.x).T - judged.y).double().cpu().numpy()
        # A single row held out can be hit exactly; the floor keeps the Gaussian a density.
        sigma = np.maximum(np.sqrt((errors**2).mean(axis=0)), SIGMA_FLOOR)
        return Baseline(network.for_answers(), sigma)

    def record(self, outcome: Outcome) -> TrainingRecord:
        """Return how the mixture's training went, in the units of the file."""
        return TrainingRecord(
            rows=len(self._train) + len(self._valid),
            rows_valid=len(self._valid),
            epochs=len(outcome.train_losses),
            best_epoch=outcome.best_epoch,
            stopped=outcome.stopped,
            faults=outcome.faults,
            nll_train=math.nan,
            nll_valid=math.nan,
            history={
                "nll_train": [self._mixture_nll(loss) for loss in outcome.train_losses],
                "nll_valid": [self._mixture_nll(loss) for loss in outcome.valid_losses],
            },
        )

    def _network(self, outputs: int) -> Perceptron:
        features = len(self._schema.features)
        return Perceptron(features, self.architecture, outputs, self._generator)

    def _teach(
        self,
        stage: str,
        network: Perceptron,
        objective: Objective,
        to_nll: Callable[[float], float],
    ) -> Generator[Epoch, None, Outcome]:
        descent = Descent(
            network,
            objective,
            self._train,
            self._valid,
            self._settings,
            self._generator,
            self._stop,
        )
        for epoch, loss_train, loss_valid in descent.run():
            yield Epoch(
                stage,
                epoch,
                descent.epochs,
                to_nll(loss_train),
                to_nll(loss_valid),
                perf_counter() - self._started,
            )
        return descent.outcome

    def _mixture_nll(self, loss: float) -> float:
        return loss + self._log_units

    def _least_squares_nll(self, loss: float) -> float:
        """Return the NLL of a Gaussian whose variance is the mean squared error."""
        targets = len(self._schema.targets)
        variance = max(2.0 * loss / targets, SIGMA_FLOOR**2)
        return 0.5 * targets * (math.log(2.0 * math.pi * variance) + 1.0) + self._log_units


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no CUDA device here. Use --device cpu.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
