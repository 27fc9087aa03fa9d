"""One lesson: networks taught on the same rows from one seed, and what they learned."""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import cast

import numpy as np
import torch

from mdncli.columns.schema import Schema
from mdncli.density.model import Baseline, ConditionalDensity
from mdncli.density.network import Architecture
from mdncli.density.record import MemberReport, TrainingRecord, report
from mdncli.errors import DataError, UsageError
from mdncli.learning.loop import Batches, Descent, Objective, Outcome
from mdncli.learning.loss import nll_and_gradient, squares_and_gradient
from mdncli.learning.marginal_reference import StandardRows, Yardstick
from mdncli.learning.network import Perceptrons
from mdncli.learning.splits import Examples, Split, divided
from mdncli.settings import Settings
from mdncli.types import Array, Positions

_ROWS_TO_REPORT = 5000
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Epoch:
    """What an epoch ended with.

    Attributes:
        stage: what is being learned, if not the mixture itself: the least-squares baseline, or a
            trial of `-k auto`.
        epoch: from 1.
        epochs: at most.
        nll_train: nats a row in the units of the file, measured while the weights moved.
        nll_valid: likewise on the rows held out, of the averaged weights; NaN if there are none.
        reference: NLL of the unconditional mixture on the rows held out, or on the training rows
            if there are none.
        seconds: of learning so far.
        fold: of a cross-validation, what it is called.
    """

    stage: str
    epoch: int
    epochs: int
    nll_train: float
    nll_valid: float
    reference: float
    seconds: float
    fold: str = ""


class Watch:
    """Knows how long learning has taken, and whether it is to end now.

    Args:
        stop: says True once learning is to end.
        limit: seconds after which it is to end in any case, if there is a limit.
    """

    def __init__(self, stop: Callable[[], bool], limit: float | None) -> None:
        self._stop, self._limit = stop, limit
        self._started = perf_counter()

    def seconds(self) -> float:
        """Return the seconds since learning began."""
        return perf_counter() - self._started

    def reason_to_end(self) -> str:
        """Return why learning is to end now, `interrupted` or `time`, or nothing."""
        if self._stop():
            return "interrupted"
        return "time" if self._limit and self.seconds() > self._limit else ""


class Lesson:
    """The networks of one fit, taught on the same rows from one seed."""

    def __init__(
        self, examples: Examples, schema: Schema, settings: Settings, watch: Watch
    ) -> None:
        self._schema, self._settings, self._watch = schema, settings, watch
        self._architecture = _architecture(settings)
        self._generator = torch.Generator().manual_seed(settings.seed)
        rng = np.random.default_rng(settings.seed)
        self._rows, self._split = divided(examples, settings.members, settings.valid, rng)
        self._standard = StandardRows(self._rows, schema)
        self._device = _device(settings.device)
        self._batches = self._taken(self._split)
        # All rows that some member learns from: with several, those are all of the table.
        self._learned = np.unique(np.concatenate(self._split.train))
        components, floor = self._architecture.mixtures, schema.sigma_floor
        self._yardstick = Yardstick(
            self._standard, self._learned, self._split, components, floor, rng
        )

    def mixture(self, stage: str = "") -> Generator[Epoch, None, tuple[Perceptrons, Outcome]]:
        """Teach the mixture density networks, called `stage` in the records."""
        targets = len(self._schema.targets)
        networks = self._networks(self._architecture.head_width(targets), self._settings.members)
        networks.spread_components(self._batches.y[self._learned].cpu(), self._generator)
        floor = self._architecture.floor_of_sigmas(self._schema.sigma_floor)
        objective = partial(
            nll_and_gradient,
            architecture=self._architecture,
            floor=self._batches.y.new_tensor(floor),
        )
        outcome = yield from self._teach(stage, networks, objective, self._split, float)
        if not all(outcome.best_epochs):
            raise DataError(
                "Learning met NaN or inf in every epoch and nothing is written. "
                "Look for extreme values with a plot, or lower --lr."
            )
        return networks, outcome

    def least_squares(self) -> Generator[Epoch, None, Baseline]:
        """Teach the same trunk by least squares, on the rows of the first member."""
        networks = self._networks(len(self._schema.targets), 1)
        first = Split(self._split.train[:1], self._split.valid[:1])
        outcome = yield from self._teach(
            "baseline ", networks, squares_and_gradient, first, self._least_squares_nll
        )
        if not all(outcome.best_epochs):
            raise DataError("The least-squares baseline met NaN or inf; fit without --baseline.")
        [network] = networks.for_answers()
        [judged] = self._split.valid[:1] if len(self._split.valid[0]) else self._split.train[:1]
        parts = np.split(judged, range(_ROWS_AT_ONCE, len(judged), _ROWS_AT_ONCE))
        means = [network(self._schema.inputs(self._rows.x[part])) for part in parts]
        errors = np.concatenate(means) - self._standard.y[judged]
        weights = self._rows.counts[judged]
        # A single row held out can be hit exactly; the floor keeps the Gaussian a density.
        spread = np.sqrt(np.average(errors**2, axis=0, weights=weights))
        sigma = np.maximum(spread, self._schema.sigma_floor)
        losses = 0.5 * ((errors / sigma) ** 2 + np.log(2.0 * np.pi * sigma**2)).sum(axis=1)
        loss = float(np.average(losses, weights=weights))
        return Baseline(network, sigma, loss + self._standard.units([judged]))

    def density(
        self, networks: Perceptrons, outcome: Outcome, baseline: Baseline | None = None
    ) -> ConditionalDensity:
        """Return what was learned, with the record of how it went."""
        density = ConditionalDensity(
            self._schema,
            self._architecture,
            networks.for_answers(),
            self._settings.to_plain(),
            self._record(outcome),
            self._yardstick.mixture,
            baseline,
        )
        record = replace(
            density.record,
            nll_train=self._mean_nll(density, self._learned),
            nll_valid=self._nll_held_out(density),
            components=self._report(density),
        )
        return replace(density, record=record)

    def nll_held_out(self, density: ConditionalDensity) -> tuple[Array, Array]:
        """Return the NLL of each row that the first member holds out, (V,), and its weight."""
        [rows] = self._split.valid[:1]
        return density.nll(self._rows.x[rows], self._rows.y[rows]), self._rows.counts[rows]

    def _mean_nll(self, density: ConditionalDensity, rows: Positions) -> float:
        return density.mean_nll(self._rows.x[rows], self._rows.y[rows], self._rows.counts[rows])

    def _record(self, outcome: Outcome) -> TrainingRecord:
        of_train, of_valid = (
            self._standard.units(self._split.train),
            self._standard.units(self._split.valid),
        )
        return TrainingRecord(
            rows=len(self._rows.y),
            rows_valid=len(np.unique(np.concatenate(self._split.valid))),
            epochs=len(outcome.train_losses),
            best_epochs=outcome.best_epochs,
            stopped=outcome.stopped,
            faults=outcome.faults,
            nll_train=math.nan,
            nll_valid=math.nan,
            history={
                "nll_train": [loss + of_train for loss in outcome.train_losses],
                "nll_valid": [loss + of_valid for loss in outcome.valid_losses],
            },
            reference=self._yardstick.nll,
            components=[],
            tried={},
        )

    def _nll_held_out(self, density: ConditionalDensity) -> float:
        """Return the mean NLL over the rows held out, each by the member that held it out."""
        if self._split.shared:
            return self._mean_nll(density, self._split.valid[0])
        nlls = [
            self._mean_nll(replace(density, networks=[network]), rows)
            for network, rows in zip(density.networks, self._split.valid, strict=True)
        ]
        return float(
            np.average(nlls, weights=[self._standard.weight(rows) for rows in self._split.valid])
        )

    def _report(self, density: ConditionalDensity) -> list[MemberReport]:
        some = self._learned[:: max(1, len(self._learned) // _ROWS_TO_REPORT)]
        floor = self._architecture.floor_of_sigmas(self._schema.sigma_floor)
        return [
            report(mixture, floor * self._schema.target_scales)
            for mixture in density.condition_members(self._rows.x[some])
        ]

    def _taken(self, split: Split) -> Batches:
        return Batches(
            self._schema.inputs(self._rows.x),
            self._standard.y,
            self._rows.counts,
            split,
            self._schema.categories(),
            self._device,
        )

    def _networks(self, outputs: int, members: int) -> Perceptrons:
        inputs = self._schema.waves, self._schema.plain
        return Perceptrons(members, inputs, self._architecture, outputs, self._generator)

    def _teach(
        self,
        stage: str,
        networks: Perceptrons,
        objective: Objective,
        split: Split,
        to_nll: Callable[[float], float],
    ) -> Generator[Epoch, None, Outcome]:
        batches = self._batches if split is self._split else self._taken(split)
        of_train, of_valid = self._standard.units(split.train), self._standard.units(split.valid)
        descent = Descent(
            networks, objective, batches, self._settings, self._generator, self._watch.reason_to_end
        )
        yardstick = self._yardstick.nll["nll_valid" if batches.holds_out else "nll_train"]
        for epoch, loss_train, loss_valid in descent.run():
            yield Epoch(
                stage,
                epoch,
                descent.epochs,
                to_nll(loss_train) + of_train,
                to_nll(loss_valid) + of_valid,
                yardstick,
                self._watch.seconds(),
            )
        return descent.outcome

    def _least_squares_nll(self, loss: float) -> float:
        """Return the NLL of a Gaussian whose variance is the mean squared error, standardized."""
        targets = len(self._schema.targets)
        variance = max(2.0 * loss / targets, float(self._schema.sigma_floor.min()) ** 2)
        return 0.5 * targets * (math.log(2.0 * math.pi * variance) + 1.0)


def _architecture(settings: Settings) -> Architecture:
    return Architecture(
        # Chosen by now, by the rows or by the search.
        mixtures=cast(int, settings.mixtures),
        hidden=settings.hidden,
        activation=settings.activation,
        covariance=settings.covariance,
        frequencies=settings.frequencies,
    )


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no CUDA device here. Use --device cpu.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
