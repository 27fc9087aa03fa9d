"""The trainer: it trains the rungs of one fit, weighs them, and makes them a model."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch

from mdncli.columns.dataset import Dataset
from mdncli.columns.schema import Schema
from mdncli.density.mixture import GaussianMixture, log_sum_exp
from mdncli.density.model import (
    Background,
    Baseline,
    MemberReport,
    MixtureDensityNetwork,
    Rung,
    TrainingRecord,
    report,
)
from mdncli.density.network import Architecture, Perceptron, split_head
from mdncli.errors import DataError, parameter
from mdncli.learning.closed_forms import (
    Fit,
    background_of,
    linear,
    marginal,
    mixture_of_marginal,
    outputs_of,
)
from mdncli.learning.ladder import (
    Block,
    HeldOut,
    Kind,
    Recipe,
    Stacking,
    architecture_of,
    log_prob_standardized,
    network_rungs,
    parts_to_hold_out,
    steps_of_finish,
    targets_of_pool,
)
from mdncli.learning.loop import (
    Batches,
    Problem,
    TrainingLoop,
    history_of,
    in_threads,
)
from mdncli.learning.memory import learn_memory
from mdncli.learning.monitor import Epoch, Monitor
from mdncli.learning.network import (
    BackgroundDensity,
    Perceptrons,
    cell_nll_and_gradient,
    device_of,
    nll_and_gradient,
    squares_and_gradient,
    wrapped_nll_and_gradient,
)
from mdncli.learning.splits import Split, StandardizedRows, seed_of, split_dataset
from mdncli.learning.stream import RowsOnDisk, StreamedBatches
from mdncli.settings import Settings
from mdncli.types import Array, Mask, Positions

_ROWS_TO_REPORT = 5000
# The most rows by which the rungs are weighed.
_MOST_JUDGED = 20_000
# The most members that learn together. The arrays of more would leave the processor's cache.
_MOST_IN_BLOCK = 6
# How far the NLL must be below that of the marginal for a finish, in nats.
_GAIN_TO_FINISH = 2.0
# The share of the background's weight in learning: rows that lie apart should be learned, too.
_BACKGROUND_IN_LEARNING = 1e-6
# The learning rate of networks that have learned before, as a share of the usual one.
_RATE_FROM_INIT = 0.3
# What keeps a plain table at one network: a rung, or several members of one, must gain so much, in
# nats. The preset `best` keeps all that helps.
_LEAST_GAIN_OF_RUNG, _LEAST_GAIN_OF_POOL = 0.01, 0.02


class Trainer:
    """Trains the rungs of one fit, weighs them, and makes them a model.

    Args:
        dataset: the rows.
        schema: of these rows.
        settings: of the fit, with every choice made; `mixtures` is a number.
        monitor: is called after every epoch and every step.
        init: a model whose networks go on learning, where they are of the same kind and shape.
        stream: the training rows, of which those of the dataset are a sample; None if those are
            all. The dataset then has its own rows to hold out.

    Raises:
        ParameterError: the settings ask for CUDA, which is not available.
        DataError: all rows are in one group, or there are too few for a memory that is asked for.
    """

    def __init__(
        self,
        dataset: Dataset,
        schema: Schema,
        settings: Settings,
        monitor: Monitor,
        init: MixtureDensityNetwork | None = None,
        stream: RowsOnDisk | None = None,
    ) -> None:
        self._schema, self._settings, self._monitor = schema, settings, monitor
        self._stream = stream
        self._learned_before = {} if init is None else {rung.kind: rung for rung in init.rungs}
        rng = np.random.default_rng(settings.seed)
        members, rows = cast(int, settings.members), len(dataset.y)
        parts = parts_to_hold_out(settings, rows)
        self._dataset, self._split = split_dataset(dataset, members, settings.valid, rng, parts)
        self._rows = StandardizedRows.of(self._dataset, schema)
        learned = learn_memory(self._rows, self._split, dataset.groups, settings)
        use, self._memory, self._said = learned
        self._device = self._chosen_device(len(dataset.y))
        rate = settings.lr * (_RATE_FROM_INIT if init is not None else 1.0)
        rows = rows if stream is None else stream.rows_of_epoch
        recipes = network_rungs(replace(settings, lr=rate), rows, len(schema.targets), use)
        self._kinds = [self._kind(recipe) for recipe in recipes]
        self._train_rows = self._split.train_rows
        self._background = None
        if settings.background:
            train = self._train_rows
            cells = self._rows.cells_of(train)
            if cells is not None and schema.targets[0].atoms:
                # Atoms are as far from the others as their intervals are wide, which means nothing.
                points = train[cells.is_point]
                train = points if len(np.unique(self._rows.y[points])) > 1 else train
            self._background = background_of(self._rows.y[train], self._rows.weights[train])
        self._judged = self._rows_to_judge(rng)
        mixtures = cast(int, settings.mixtures)
        form = marginal(self._rows, mixtures, self._min_sigma, rng)
        self._marginal = self._closed_form("marginal", *form)
        self._reference_nll = self._nll_of_reference()

    def train(self, stage: str = "") -> MixtureDensityNetwork:
        """Return the model.

        Args:
            stage: what an `Epoch` calls this training.

        Raises:
            DataError: no epoch of any network ended with a finite loss.
        """

        def size(members: int) -> int:
            return math.ceil(members / math.ceil(members / _MOST_IN_BLOCK))

        jobs = [
            partial(
                self._train_block, kind, slice(start, start + size(kind.members)), position, stage
            )
            for position, kind in enumerate(self._kinds)
            for start in range(0, kind.members, size(kind.members))
        ]
        blocks = [block for block in in_threads(jobs, self._settings.threads) if block is not None]
        if not blocks:
            raise DataError(
                "The loss was NaN or infinite in every epoch, so there is no model. Look for "
                f"extreme values in the table, or set a smaller {parameter('lr')}."
            )
        model = self._model(blocks)
        self._show_end(stage, model)
        return model

    def train_baseline(self, model: MixtureDensityNetwork) -> Baseline:
        """Return a network of the same hidden layers, fitted by least squares.

        Its training rows and validation rows are those of the first member.

        Args:
            model: the model whose heaviest rung says which layers.

        Raises:
            DataError: no epoch ended with a finite loss.
        """
        names = [kind.name for kind in self._kinds]
        kind = self._kinds[names.index(model.main.name) if model.main.name in names else 0]
        split = self._split.first_member()
        generator = torch.Generator().manual_seed(self._settings.seed)
        inputs, outputs = self._input_widths(self._rows), len(self._schema.targets)
        networks = Perceptrons(1, inputs, model.main.architecture, outputs, generator)
        batches = self._batches(replace(self._rows, cells=None), split, networks, kind.settings)
        problem = Problem(networks, squares_and_gradient, batches)
        loop = TrainingLoop(problem, kind.settings, generator, self._monitor.slot("baseline"))
        show = self._show_epochs("baseline ", loop, self._nll_of_squares)
        if loop.run(show, self._monitor.reason_to_stop).failed:
            raise DataError(
                "The loss of the least-squares baseline was NaN or infinite in every epoch. Fit "
                f"without {parameter('baseline')}."
            )
        return self._scored_baseline(networks.to_numpy()[0], split)

    def _scored_baseline(self, network: Perceptron, split: Split) -> Baseline:
        [judged] = split.valid if split.holds_out else split.train
        means = outputs_of(network, self._rows, judged)
        errors, weights = means - self._rows.y[judged], self._rows.weights[judged]
        errors -= self._period * np.rint(errors / (self._period or 1.0))
        # The error may be zero, for instance in a single row.
        sigma = np.maximum(np.sqrt(np.average(errors**2, axis=0, weights=weights)), self._min_sigma)
        baseline = Baseline(network, sigma, math.nan)
        nlls = -self._log_prob(baseline.mixture(means), judged)
        nll = float(np.average(nlls, weights=weights)) + self._rows.nll_offset(judged)
        return replace(baseline, nll=nll)

    def nll_held_out(self, model: MixtureDensityNetwork) -> tuple[Array, Array]:
        """Return the NLL of each validation row of the first member, (V,), and the row's weight."""
        [rows] = self._split.valid[:1]
        nll = model.nll(self._dataset.x[rows], self._dataset.y[rows], self._known(rows))
        return nll, self._rows.weights[rows]

    def _known(self, rows: Positions) -> Mask | None:
        return None if self._dataset.known is None else self._dataset.known[rows]

    def _chosen_device(self, rows: int) -> torch.device:
        if self._stream is None:
            return device_of(self._settings.device, rows)
        alone = self._stream.processes.count == 1
        return device_of(self._settings.device, self._stream.all_rows if alone else None)

    # The rows.

    @property
    def _min_sigma(self) -> Array:
        return self._schema.min_sigma

    def _log_prob(self, mixture: GaussianMixture, rows: Positions) -> Array:
        """Return the log density of the standardized targets of some rows."""
        return log_prob_standardized(mixture, self._rows.y[rows], self._rows.cells_of(rows))

    def _kind(self, recipe: Recipe) -> Kind:
        settings = recipe.settings
        reads = tuple(part for part in self._said if part in recipe.reads)
        columns = [self._rows.inputs, *(self._said[part] for part in reads)]
        rows = replace(self._rows, inputs=np.column_stack(columns)) if reads else self._rows
        widths, architecture = self._input_widths(rows), architecture_of(settings)
        networks = Perceptrons(1, widths, architecture, 1, torch.Generator())
        batches = self._batches(rows, self._split, networks, settings)
        return Kind(recipe.name, settings, rows, reads, batches)

    def _input_widths(self, rows: StandardizedRows) -> tuple[int, int]:
        """Return the numbers of periodic and of other inputs of the networks."""
        periodic = self._schema.periodic_width
        return periodic, rows.inputs.shape[1] - periodic

    def _batches(
        self, rows: StandardizedRows, split: Split, networks: Perceptrons, settings: Settings
    ) -> Batches:
        how: dict[str, Any] = {"in_advance": not settings.noise_x}
        if self._stream is not None:
            how |= {"stream": self._stream, "seed": settings.seed}
            return StreamedBatches(rows, split, self._device, networks.embed, **how)
        return Batches(rows, split, self._device, networks.embed, **how)

    def _rows_to_judge(self, rng: np.random.Generator) -> Positions:
        """Return the rows by which the rungs are weighed: some of those that are held out."""
        if not self._split.holds_out:
            return np.empty(0, dtype=np.int64)
        rows = self._split.valid_rows
        if len(rows) <= _MOST_JUDGED:
            return rows
        return np.sort(rng.choice(rows, _MOST_JUDGED, replace=False))

    # Networks.

    def _train_block(self, kind: Kind, members: slice, position: int, stage: str) -> Block | None:
        """Train some members; return None if that failed, or if there is no time for it."""
        first = position == 0 and members.start == 0
        if not first and self._monitor.reason_to_stop():
            return None
        batches, settings = kind.batches.of_members(members), kind.settings
        generator = torch.Generator().manual_seed(seed_of(settings.seed, position, members.start))
        architecture = kind.architecture
        networks = Perceptrons(
            batches.members,
            self._input_widths(kind.rows),
            architecture,
            architecture.head_width(len(self._schema.targets)),
            generator,
        )
        [(_, outputs)] = self._marginal.rung.networks[0].layers
        y, of_marginal = batches.y[self._train_rows].cpu(), torch.from_numpy(outputs).float()
        networks.spread_components(y, generator, of_marginal)
        before = self._learned_before.get((kind.name, architecture, kind.reads))
        if before is not None:
            networks.start_from(before.networks)
        objective = partial(
            self._loss(),
            architecture=architecture,
            min_sigma=batches.y.new_tensor(architecture.limits_of_sigmas(self._min_sigma)),
            background=self._background_density(),
        )
        slot = self._monitor.slot(f"{stage}{kind.name} {members.start}")
        loop = TrainingLoop(Problem(networks, objective, batches), settings, generator, slot)
        show = self._show_epochs(self._stage(stage, kind, members), loop, float)
        result = loop.run(show, self._monitor.reason_to_stop)
        if result.failed:
            return None
        steps = self._finish_steps(loop, settings)
        if steps and result.stopped in ("epochs", "patience"):
            loop.finish(steps, show, self._monitor.reason_to_stop)
        if not self._monitor.reason_to_stop():
            loop.close()
        numbers = range(members.start, members.start + batches.members)
        return Block(kind, numbers, networks.to_numpy(), result)

    @property
    def _period(self) -> float:
        return 0.0 if self._rows.cells is None else self._rows.cells.period

    def _loss(self) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
        if self._period:
            return partial(wrapped_nll_and_gradient, period=self._period)
        return nll_and_gradient if self._rows.cells is None else cell_nll_and_gradient

    def _background_density(self) -> BackgroundDensity | None:
        if self._background is None:
            return None
        mu, sigma = (
            torch.tensor(part[:, None], dtype=torch.float32, device=self._device)
            for part in (self._background.mu, self._background.sigma)
        )
        log_weight = math.log(_BACKGROUND_IN_LEARNING * self._background.weight)
        return BackgroundDensity(log_weight, mu, sigma, self._period)

    def _finish_steps(self, loop: TrainingLoop, settings: Settings) -> int:
        """Return the number of steps of the finish, 0 where it would not help."""
        if settings.finish is not None or self._settings.epochs is not None:
            return settings.finish or 0
        periodic_of_ladder = settings.ladder and settings.frequencies
        reference = self._reference_nll["nll_valid"] - self._nll_offsets()[1]
        if periodic_of_ladder or not loop.best_loss < reference - _GAIN_TO_FINISH:
            return 0
        reads = any(kind.reads for kind in self._kinds)
        return steps_of_finish(settings, len(self._train_rows), len(self._min_sigma), reads)

    def _stage(self, stage: str, kind: Kind, members: slice) -> str:
        count = kind.members
        if len(self._kinds) == 1 and count <= _MOST_IN_BLOCK:
            return stage
        return f"{stage}{kind.name} {members.start + 1}-{min(members.stop, count)} of {count}: "

    def _show_epochs(
        self, stage: str, loop: TrainingLoop, to_nll: Callable[[float], float]
    ) -> Callable[[int, float, float], None]:
        """Return a function that passes epochs on; `to_nll` makes a loss a standardized NLL."""
        train_offset, valid_offset = self._nll_offsets()
        reference = self._reference_nll["nll_valid" if self._split.holds_out else "nll_train"]

        def show(epoch: int, train_loss: float, valid_loss: float) -> None:
            nlls = to_nll(train_loss) + train_offset, to_nll(valid_loss) + valid_offset
            seconds = self._monitor.seconds()
            self._monitor.show(Epoch(stage, epoch, loop.epochs, *nlls, reference, seconds))

        return show

    def _show_end(self, stage: str, model: MixtureDensityNetwork) -> None:
        """Pass on the scores of the whole model, with the time of all learning."""
        record, reference = model.record, self._reference_nll["nll_valid"]
        nlls = record.nll_train, record.nll_valid
        seconds = self._monitor.seconds()
        self._monitor.show(Epoch(f"{stage}together: ", 1, 1, *nlls, reference, seconds))

    def _nll_of_squares(self, loss: float) -> float:
        """Return the NLL of a Gaussian with the mean squared error as variance, standardized."""
        targets = len(self._schema.targets)
        variance = max(2.0 * loss / targets, float(self._min_sigma.min()) ** 2)
        return 0.5 * targets * (math.log(2.0 * math.pi * variance) + 1.0)

    # The ladder.

    def _rungs(self, blocks: Sequence[Block]) -> tuple[list[Rung], list[HeldOut], Array]:
        """Return all rungs, their outputs at the rows that weigh them, and how much each counts.

        A row that no trained member held out counts nothing; there may be such rows if learning
        was stopped early.
        """
        rungs, held_out = [], []
        weights = self._rows.weights[self._judged]
        for kind in self._kinds:
            own = [block for block in blocks if block.kind is kind]
            if not own:
                continue
            networks = [network for block in own for network in block.networks]
            members = [member for block in own for member in block.members]
            holders = self._split.holders(len(self._rows.y), members)[self._judged]
            weights = weights * (holders >= 0)
            rung = Rung(kind.name, kind.architecture, networks, reads=kind.reads)
            rung = self._with_few_members(rung, kind.rows)
            held = self._held_out(kind.architecture, networks, members, kind.rows)
            if len(rung.networks) > 1 and not self._split.is_shared:
                held = self._with_pool(held, networks, kind.rows)
            rungs.append(rung)
            held_out.append(held)
        if self._settings.ladder:
            form = self._closed_form("linear", *linear(self._rows, self._min_sigma))
            rungs += [self._marginal.rung, form.rung]
            held_out += [self._marginal.held_out, form.held_out]
        return rungs, held_out, weights

    def _held_out(
        self,
        architecture: Architecture,
        networks: Sequence[Perceptron],
        members: Sequence[int],
        rows: StandardizedRows,
    ) -> HeldOut:
        """Return the outputs at each row of a member that held it out, or of all such members."""
        y, cells = self._rows.y[self._judged], self._rows.cells_of(self._judged)
        if self._split.is_shared:
            outputs = [outputs_of(network, rows, self._judged) for network in networks]
            return HeldOut(architecture, outputs, y, self._min_sigma, cells)
        holders = self._split.holders(len(self._rows.y), members)[self._judged]
        raw = np.zeros((len(self._judged), architecture.head_width(y.shape[1])))
        for network, member in zip(networks, members, strict=True):
            own = holders == member
            raw[own] = outputs_of(network, rows, self._judged[own])
        return HeldOut(architecture, [raw], y, self._min_sigma, cells)

    def _with_pool(
        self, held_out: HeldOut, networks: Sequence[Perceptron], rows: StandardizedRows
    ) -> HeldOut:
        """Return a rung with the targets as a pool of these networks would see them."""
        architecture = held_out.architecture

        def mixture(raw: Array) -> GaussianMixture:
            return split_head(raw, architecture, self._min_sigma)

        [raw] = held_out.raw
        outputs = [outputs_of(each, rows, self._judged) for each in networks]
        means = np.stack([mixture(each).mean() for each in outputs])
        return replace(held_out, y_of_pool=targets_of_pool(mixture(raw), means, held_out.y))

    def _closed_form(self, name: str, architecture: Architecture, fit: Fit) -> "_ClosedForm":
        """Return a model without hidden layers, and its outputs at the rows that it held out."""
        network, split = fit(self._train_rows), self._split
        members = range(1 if split.is_shared else len(split.train))
        networks = [network] if split.is_shared else [fit(split.train[m]) for m in members]
        held_out = self._held_out(architecture, networks, members, self._rows)
        return _ClosedForm(Rung(name, architecture, [network]), held_out)

    def _stacked(
        self, rungs: list[Rung], held_out: list[HeldOut], weights: Array
    ) -> tuple[list[Rung], Background | None, float]:
        """Return the rungs that stay, the background with its weight, and the NLL held out."""
        background = self._background
        if not weights.sum() > 0.0:
            share = 0.0 if background is None else background.weight
            rungs = [replace(rung, weight=1.0 - share) for rung in rungs[:1]]
            return rungs, background, math.nan
        offset = self._rows.nll_offset(self._judged)
        stacking = Stacking(
            held_out,
            weights,
            None if background is None else self._log_prob(background.mixture(), self._judged),
            0.0 if background is None else background.weight,
            calibrate=self._settings.calibrate,
            least_gain=0.0 if self._settings.steps is None else _LEAST_GAIN_OF_RUNG,
        )
        stack = stacking.solve()
        stacked = []
        for rung, held, weight in zip(rungs, held_out, stack.weights, strict=True):
            if not weight:
                continue
            nlls = self._nlls(held.log_prob(), self._judged)
            nll = float(np.average(nlls, weights=weights)) + offset
            if held.is_network:
                scale, temperature = stack.sigma_scale, stack.temperature
                rung = replace(rung, sigma_scale=scale, temperature=temperature)
            stacked.append(replace(rung, weight=weight, nll=nll))
        if background is not None:
            background = replace(background, weight=stack.background)
        return stacked, background, stack.nll + offset

    def _with_few_members(self, rung: Rung, all_rows: StandardizedRows) -> Rung:
        """Return a rung with one member, if averaging the members hardly lowers the NLL."""
        if not self._settings.ladder or len(rung.networks) == 1 or self._settings.steps is None:
            return rung
        rows = self._some_train_rows
        each = []
        for network in rung.networks:
            raw = outputs_of(network, all_rows, rows)
            mixture = split_head(raw, rung.architecture, self._min_sigma)
            each.append(self._log_prob(mixture, rows))
        logs = np.stack(each, axis=1)
        gain = log_sum_exp(logs) - math.log(len(each)) - logs.mean(axis=1)
        few = float(np.average(gain, weights=self._rows.weights[rows])) < _LEAST_GAIN_OF_POOL
        return replace(rung, networks=rung.networks[:1]) if few else rung

    def _nlls(self, log_prob: Array, rows: Positions) -> Array:
        """Return the NLL of each row with the background at its least weight, if there is one."""
        if self._background is None:
            return -log_prob
        weight = self._background.weight
        own = self._log_prob(self._background.mixture(), rows)
        return -np.logaddexp(math.log1p(-weight) + log_prob, math.log(weight) + own)

    # The model and its record.

    def _nll_of_reference(self) -> dict[str, float]:
        rung, held_out = self._marginal.rung, self._marginal.held_out
        train, judged = self._train_rows, self._judged
        mixture = mixture_of_marginal(rung, self._min_sigma)
        nlls = {
            "nll_train": self._nlls(self._log_prob(mixture, train), train),
            "nll_valid": self._nlls(held_out.log_prob(), judged) if len(judged) else np.empty(0),
        }
        return {
            name: self._rows.nll_offset(rows)
            + (float(np.average(each, weights=self._rows.weights[rows])) if len(rows) else math.nan)
            for (name, each), rows in zip(nlls.items(), (train, judged), strict=True)
        }

    def _model(self, blocks: Sequence[Block]) -> MixtureDensityNetwork:
        rungs, background, nll_valid = self._stacked(*self._rungs(blocks))
        main = max(rungs, key=lambda rung: rung.weight)
        own = [block for block in blocks if block.kind.name == main.name]
        model = MixtureDensityNetwork(
            schema=self._schema,
            rungs=rungs,
            settings=self._settings.to_plain(),
            record=self._record(own or blocks[:1], nll_valid),
            reference=mixture_of_marginal(self._marginal.rung, self._min_sigma),
            background=background,
            memory=self._memory.only({part for rung in rungs for part in rung.reads}),
        )
        rows = self._train_rows
        dataset, weights = self._dataset, self._rows.weights[rows]
        nll_train = model.mean_nll(dataset.x[rows], dataset.y[rows], weights, self._known(rows))
        record = replace(model.record, nll_train=nll_train, components=self._reports(model))
        if self._split.is_shared and len(self._judged):
            # No member learned from these rows, so the model as a whole can be judged by them.
            judged, weights = self._judged, self._rows.weights[self._judged]
            known = self._known(judged)
            nll_valid = model.mean_nll(dataset.x[judged], dataset.y[judged], weights, known)
            record = replace(record, nll_valid=nll_valid)
        return replace(model, record=record)

    def _record(self, blocks: Sequence[Block], nll_valid: float) -> TrainingRecord:
        """Return the record of a fit with the history of one kind of networks."""
        results = [block.result for block in blocks]
        return TrainingRecord(
            rows=self._count_of_rows,
            rows_valid=len(self._split.valid_rows),
            nll_train=math.nan,
            nll_valid=nll_valid,
            reference=self._reference_nll,
            components=[],
            tried={},
            **history_of(results, *self._nll_offsets()),
        )

    @property
    def _count_of_rows(self) -> int:
        """The number of rows of the fit: those to learn from, and those that are held out."""
        if self._stream is None:
            return len(self._rows.y)
        return self._stream.all_rows + len(self._split.valid_rows)

    @property
    def _some_train_rows(self) -> Positions:
        """At most about 5000 of the training rows, evenly spread."""
        return self._train_rows[:: max(1, len(self._train_rows) // _ROWS_TO_REPORT)]

    def _reports(self, model: MixtureDensityNetwork) -> list[MemberReport]:
        rows = self._some_train_rows
        smallest = model.main.architecture.limits_of_sigmas(self._min_sigma)
        members = model.member_mixtures(self._dataset.x[rows])
        return [report(mixture, smallest * self._schema.target_scales) for mixture in members]

    def _nll_offsets(self) -> tuple[float, float]:
        """Return what turns standardized NLLs of training and validation rows into those of y."""
        train, valid = np.concatenate(self._split.train), np.concatenate(self._split.valid)
        return self._rows.nll_offset(train), self._rows.nll_offset(valid)


@dataclass(frozen=True)
class _ClosedForm:
    """A rung without hidden layers, and its outputs at rows that were held out."""

    rung: Rung
    held_out: HeldOut
