"""The trainer: it trains all networks of one fit and makes them a model with its record."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import cast

import numpy as np
import torch

from mdncli.columns.dataset import Dataset
from mdncli.columns.schema import Schema
from mdncli.density.model import Baseline, MixtureDensityNetwork
from mdncli.density.network import Architecture
from mdncli.density.record import MemberReport, TrainingRecord, report
from mdncli.errors import DataError, ParameterError, parameter
from mdncli.learning.loop import Batches, LoopResult, Problem, TrainingLoop
from mdncli.learning.loss import nll_and_gradient, squares_and_gradient
from mdncli.learning.marginal_reference import MarginalReference
from mdncli.learning.network import Perceptrons
from mdncli.learning.splits import Split, StandardizedRows, split_dataset
from mdncli.settings import Settings
from mdncli.types import Array, Positions

_ROWS_TO_REPORT = 5000
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch, for a progress display.

    Attributes:
        stage: what is trained; empty for the mixture density network, otherwise the least-squares
            baseline or a trial with another number of components.
        epoch: from 1.
        epochs: the largest number of epochs.
        nll_train: mean over the training rows during the epoch, in nats per row, in the units of
            the file.
        nll_valid: mean over the validation rows after the epoch, of the averaged weights; NaN if
            there are no such rows.
        reference: the NLL of the marginal reference on the validation rows, or on the training rows
            if there are no validation rows.
        seconds: of learning so far.
        fold: the name of the fold of a cross-validation; empty otherwise.
    """

    stage: str
    epoch: int
    epochs: int
    nll_train: float
    nll_valid: float
    reference: float
    seconds: float
    fold: str = ""


class Monitor:
    """Measures the time of learning, passes epochs on, and knows when learning must stop.

    Args:
        progress: is called with every epoch.
        stop: returns True once learning must stop.
        time_limit: seconds after which learning must stop; None for no limit.
    """

    def __init__(
        self,
        progress: Callable[[Epoch], None] | None = None,
        stop: Callable[[], bool] | None = None,
        time_limit: float | None = None,
    ) -> None:
        self._progress, self._stop, self._time_limit = progress, stop, time_limit
        self._started = perf_counter()

    def seconds(self) -> float:
        """Return the seconds since learning began."""
        return perf_counter() - self._started

    def show(self, epoch: Epoch) -> None:
        """Pass an epoch on."""
        if self._progress is not None:
            self._progress(epoch)

    def reason_to_stop(self) -> str:
        """Return why learning must stop now, `interrupted` or `time`; empty if it need not."""
        if self._stop is not None and self._stop():
            return "interrupted"
        return "time" if self._time_limit and self.seconds() > self._time_limit else ""


class Trainer:
    """Trains the networks of one fit: the mixture density networks and the baseline.

    Args:
        dataset: the rows.
        schema: of these rows.
        settings: of the fit; `mixtures` is a number.
        monitor: is called after every epoch and every step.

    Raises:
        ParameterError: the settings ask for CUDA, which is not available.
        DataError: all rows are in one group.
    """

    def __init__(
        self, dataset: Dataset, schema: Schema, settings: Settings, monitor: Monitor
    ) -> None:
        self._schema, self._settings, self._monitor = schema, settings, monitor
        self._architecture = _architecture(settings)
        self._generator = torch.Generator().manual_seed(settings.seed)
        rng = np.random.default_rng(settings.seed)
        self._dataset, self._split = split_dataset(dataset, settings.members, settings.valid, rng)
        self._rows = StandardizedRows.of(self._dataset, schema)
        self._device = _device(settings.device)
        self._batches = Batches(self._rows, self._split, self._device)
        self._train_rows = self._split.train_rows
        self._reference = MarginalReference.fit(
            self._rows, self._split, self._architecture.mixtures, schema.min_sigma, rng
        )

    def train_mixture(self, stage: str = "") -> tuple[Perceptrons, LoopResult]:
        """Return trained mixture density networks, and how their training went.

        Args:
            stage: what an `Epoch` calls this training.

        Raises:
            DataError: no epoch ended with a finite loss.
        """
        targets = len(self._schema.targets)
        networks = self._networks(self._architecture.head_width(targets), self._settings.members)
        train_y = self._batches.y[self._train_rows].cpu()
        networks.spread_components(train_y, self._generator)
        objective = partial(
            nll_and_gradient,
            architecture=self._architecture,
            min_sigma=self._batches.y.new_tensor(self._min_sigma()),
        )
        result = self._run(stage, Problem(networks, objective, self._batches), self._split, float)
        if result.failed:
            raise DataError(
                "The loss was NaN or infinite in every epoch, so there is no model. Look for "
                f"extreme values in the table, or set a smaller {parameter('lr')}."
            )
        return networks, result

    def train_baseline(self) -> Baseline:
        """Return a network of the same hidden layers, fitted by least squares.

        Its training rows and validation rows are those of the first member.

        Raises:
            DataError: no epoch ended with a finite loss.
        """
        networks = self._networks(len(self._schema.targets), 1)
        split = self._split.first_member()
        batches = Batches(self._rows, split, self._device)
        problem = Problem(networks, squares_and_gradient, batches)
        result = self._run("baseline ", problem, split, self._nll_of_squares)
        if result.failed:
            raise DataError(
                "The loss of the least-squares baseline was NaN or infinite in every epoch. Fit "
                f"without {parameter('baseline')}."
            )
        [network] = networks.to_numpy()
        [judged] = split.valid if split.holds_out else split.train
        pieces = np.split(judged, range(_ROWS_AT_ONCE, len(judged), _ROWS_AT_ONCE))
        means = [network(self._rows.inputs[piece]) for piece in pieces]
        errors = np.concatenate(means) - self._rows.y[judged]
        weights = self._rows.weights[judged]
        # The error may be zero, for instance in a single row.
        rmse = np.sqrt(np.average(errors**2, axis=0, weights=weights))
        sigma = np.maximum(rmse, self._schema.min_sigma)
        nlls = 0.5 * ((errors / sigma) ** 2 + np.log(2.0 * np.pi * sigma**2)).sum(axis=1)
        nll = float(np.average(nlls, weights=weights))
        return Baseline(network, sigma, nll + self._rows.nll_offset(judged))

    def model(
        self, networks: Perceptrons, result: LoopResult, baseline: Baseline | None = None
    ) -> MixtureDensityNetwork:
        """Return the model with these networks, and with the record of their training."""
        model = MixtureDensityNetwork(
            self._schema,
            self._architecture,
            networks.to_numpy(),
            self._settings.to_plain(),
            self._record(result),
            self._reference.mixture,
            baseline,
        )
        record = replace(
            model.record,
            nll_train=self._mean_nll(model, self._train_rows),
            nll_valid=self._nll_valid(model),
            components=self._reports(model),
        )
        return replace(model, record=record)

    def nll_held_out(self, model: MixtureDensityNetwork) -> tuple[Array, Array]:
        """Return the NLL of each validation row of the first member, (V,), and the row's weight."""
        [rows] = self._split.valid[:1]
        return model.nll(self._dataset.x[rows], self._dataset.y[rows]), self._rows.weights[rows]

    def _mean_nll(self, model: MixtureDensityNetwork, rows: Positions) -> float:
        dataset = self._dataset
        return model.mean_nll(dataset.x[rows], dataset.y[rows], self._rows.weights[rows])

    def _nll_valid(self, model: MixtureDensityNetwork) -> float:
        """Return the mean NLL of the validation rows, each by the member that held it out."""
        if self._split.is_shared:
            return self._mean_nll(model, self._split.valid[0])
        nlls = [
            self._mean_nll(replace(model, networks=[network]), rows)
            for network, rows in zip(model.networks, self._split.valid, strict=True)
        ]
        weights = [self._rows.total_weight(rows) for rows in self._split.valid]
        return float(np.average(nlls, weights=weights))

    def _record(self, result: LoopResult) -> TrainingRecord:
        train_offset, valid_offset = self._nll_offsets(self._split)
        return TrainingRecord(
            rows=len(self._rows.y),
            rows_valid=len(self._split.valid_rows),
            epochs=len(result.train_losses),
            best_epochs=result.best_epochs,
            stopped=result.stopped,
            faults=result.faults,
            nll_train=math.nan,
            nll_valid=math.nan,
            history={
                "nll_train": [loss + train_offset for loss in result.train_losses],
                "nll_valid": [loss + valid_offset for loss in result.valid_losses],
            },
            reference=self._reference.nll,
            components=[],
            tried={},
        )

    def _reports(self, model: MixtureDensityNetwork) -> list[MemberReport]:
        rows = self._train_rows[:: max(1, len(self._train_rows) // _ROWS_TO_REPORT)]
        min_sigma = self._min_sigma() * self._schema.target_scales
        members = model.member_mixtures(self._dataset.x[rows])
        return [report(mixture, min_sigma) for mixture in members]

    def _min_sigma(self) -> Array:
        """Return the smallest value of each sigma of a component, (S,), standardized."""
        return self._architecture.min_sigmas(self._schema.min_sigma)

    def _networks(self, outputs: int, members: int) -> Perceptrons:
        inputs = self._schema.periodic_width, self._schema.plain_width
        return Perceptrons(members, inputs, self._architecture, outputs, self._generator)

    def _run(
        self, stage: str, problem: Problem, split: Split, to_nll: Callable[[float], float]
    ) -> LoopResult:
        """Train, and pass on every epoch; `to_nll` turns a loss into a standardized NLL."""
        train_offset, valid_offset = self._nll_offsets(split)
        loop = TrainingLoop(problem, self._settings, self._generator)
        reference = self._reference.nll["nll_valid" if split.holds_out else "nll_train"]

        def on_epoch(epoch: int, train_loss: float, valid_loss: float) -> None:
            self._monitor.show(
                Epoch(
                    stage,
                    epoch,
                    loop.epochs,
                    nll_train=to_nll(train_loss) + train_offset,
                    nll_valid=to_nll(valid_loss) + valid_offset,
                    reference=reference,
                    seconds=self._monitor.seconds(),
                )
            )

        return loop.run(on_epoch, self._monitor.reason_to_stop)

    def _nll_offsets(self, split: Split) -> tuple[float, float]:
        """Return what turns standardized NLLs of training and validation rows into those of y."""
        train, valid = np.concatenate(split.train), np.concatenate(split.valid)
        return self._rows.nll_offset(train), self._rows.nll_offset(valid)

    def _nll_of_squares(self, loss: float) -> float:
        """Return the NLL of a Gaussian with the mean squared error as variance, standardized."""
        targets = len(self._schema.targets)
        variance = max(2.0 * loss / targets, float(self._schema.min_sigma.min()) ** 2)
        return 0.5 * targets * (math.log(2.0 * math.pi * variance) + 1.0)


def _architecture(settings: Settings) -> Architecture:
    return Architecture(
        # The number of components is known here: `fit` has replaced None and "auto".
        mixtures=cast(int, settings.mixtures),
        hidden=settings.hidden,
        activation=settings.activation,
        covariance=settings.covariance,
        frequencies=settings.frequencies,
    )


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ParameterError(
            f"{parameter('device', repr(name))}: PyTorch finds no CUDA device. Use "
            f"{parameter('device', repr('cpu'))}."
        )
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
