"""The questions of one call about y given x, and their answers as columns by name."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mdncli.errors import UsageError
from mdncli.text import listed, quoted
from mdncli.types import Array

if TYPE_CHECKING:
    from mdncli.density.distribution import Distribution


Columns = dict[str, Array]

# Intervals of a highest-density region that a table has columns for.
_MOST_INTERVALS = 8


@dataclass(frozen=True)
class Questions:
    """What is asked at every row.

    Attributes:
        mean, std, median, mode, component_mean: of these, which.
        correlation: of every two targets.
        quantiles: probabilities.
        intervals, regions: probabilities held, of central intervals and highest-density regions.
        density: at the row's own target values, or at `at`: the joint one.
        marginal: each target's own density as well as, with one target, the same.
        cdf: likewise, of each target on its own.
        exceed: by target, the value v of P(y > v).
        at: by target, the value at which density and cdf are asked; none for the row's own.
        log: the logarithms of density, cdf and the chance to exceed; NaN for those of 0.
        parameters: pi, mu, sigma and, where there are any, correlations of every component.

    Raises:
        UsageError: a probability is not between 0 and 1, or one option lacks another.
    """

    mean: bool = False
    std: bool = False
    median: bool = False
    mode: bool = False
    component_mean: bool = False
    correlation: bool = False
    quantiles: tuple[float, ...] = ()
    intervals: tuple[float, ...] = ()
    regions: tuple[float, ...] = ()
    density: bool = False
    marginal: bool = False
    cdf: bool = False
    exceed: dict[str, float] = field(default_factory=dict)
    at: dict[str, float] = field(default_factory=dict)
    log: bool = False
    parameters: bool = False

    def __post_init__(self) -> None:
        for option, values in (
            ("--quantiles", self.quantiles),
            ("--interval", self.intervals),
            ("--hdr", self.regions),
        ):
            for value in values:
                if not 0.0 < value < 1.0:
                    raise UsageError(f"{option} is {value:g}: it must be between 0 and 1.")
        if self.at and not (self.density or self.cdf):
            raise UsageError("--at-target says where --density or --cdf is asked: add one of them.")
        if self.marginal and not self.density:
            raise UsageError("--marginal says which --density is asked: add it.")
        if self.log and not (self.density or self.cdf or self.exceed):
            raise UsageError("--log is for --density, --cdf and --exceed: add one of them.")

    def own_targets(self, targets: list[str]) -> list[str]:
        """Return the targets whose own values the questions need in every row.

        Raises:
            UsageError: `at` lacks a target that the joint density needs.
        """
        if not (self.density or self.cdf):
            return []
        if self.at and self.density and not self.marginal:
            missing = [name for name in targets if name not in self.at]
            if missing:
                raise UsageError(
                    f"--at-target: the joint density needs every target; {listed(missing)} is "
                    "missing. Add it, or --marginal."
                )
        return [] if self.at else targets

    def answer(self, given: "Distribution", targets: list[str], y: Array) -> tuple[Columns, int]:
        """Return the answers, (N,) each, and how many rows had regions joined to fit the columns.

        Args:
            given: the distributions of N rows.
            targets: the names of their targets.
            y: (N, T), the rows' own values; NaN where they are not needed.

        Raises:
            UsageError: two answers would have one name.
        """
        answers = _Answers(given, targets)
        for name in ("mean", "std", "median", "mode", "component_mean"):
            if getattr(self, name):
                answers.add(name, getattr(given, name)())
        if self.correlation:
            answers.add_correlations()
        if self.quantiles:
            found = answers.by_target(given.quantile(list(self.quantiles)))
            for position, p in enumerate(self.quantiles):
                answers.add(f"q{percent(p)}", found[:, :, position])
        for level in self.intervals:
            ends = answers.by_target(given.interval(level))
            answers.add(f"lo{percent(level)}", ends[:, :, 0])
            answers.add(f"hi{percent(level)}", ends[:, :, 1])
        for level in self.regions:
            answers.add_regions(f"hdr{percent(level)}", given.hdr(level))
        self._add_probabilities(answers, y)
        if self.parameters:
            answers.add_parameters()
        return answers.columns, int(answers.had_joined.sum())

    def _add_probabilities(self, answers: "_Answers", y: Array) -> None:
        """Add densities, cdfs and chances to exceed."""
        log = "log_" if self.log else ""
        targets = answers.targets
        points = y
        if self.at:
            values = [self.at.get(name, np.nan) for name in targets]
            points = np.broadcast_to(values, y.shape)
        asked = [name for name in targets if not self.at or name in self.at]
        if self.density and (self.marginal or len(targets) == 1):
            log_density = answers.given.log_prob(points, marginal=True)
            density = log_density if self.log else np.exp(log_density)
            answers.add(f"{log}density", self._finite(density), asked)
        elif self.density:
            log_density = answers.given.log_prob(points)
            density = log_density if self.log else np.exp(log_density)
            answers.put(f"{log}density", self._finite(density))
        if self.cdf:
            answers.add(f"{log}cdf", self._finite(answers.given.cdf(points, log=self.log)), asked)
        if self.exceed:
            values = [self.exceed.get(name, np.nan) for name in targets]
            tails = answers.given.cdf(np.broadcast_to(values, y.shape), upper=True, log=self.log)
            answers.add(f"{log}exceed", self._finite(tails), list(self.exceed))

    def _finite(self, values: Array) -> Array:
        """Return logarithms with NaN for those of 0, which a target with bounds may have."""
        return np.where(np.isneginf(values), np.nan, values) if self.log else values


class _Answers:
    """Columns by name, as they come together."""

    def __init__(self, given: "Distribution", targets: list[str]) -> None:
        self.given, self.targets = given, targets
        self.columns: Columns = {}
        self.had_joined = np.zeros(len(given), dtype=bool)

    def by_target(self, answer: Array) -> Array:
        """Return an answer with its axis of targets, (N, T, …), which one target lacks."""
        return answer[:, None] if len(self.targets) == 1 else answer

    def put(self, name: str, values: Array) -> None:
        """Add a column."""
        if name in self.columns:
            raise UsageError(f"two answers would be called {quoted(name)}: ask for one at a time.")
        self.columns[name] = values

    def add(self, name: str, answer: Array, asked: list[str] | None = None) -> None:
        """Add a column for each target, or for those asked about, from (N,) or (N, T)."""
        values = answer.reshape(len(self.given), len(self.targets))
        for position, target in enumerate(self.targets):
            if asked is None or target in asked:
                self.put(f"{target}_{name}", values[:, position])

    def add_correlations(self) -> None:
        """Add a column for every two targets.

        Raises:
            UsageError: there is only one target.
        """
        if len(self.targets) == 1:
            raise UsageError(
                f"--correlation is of two targets or more; there is only {quoted(self.targets[0])}."
            )
        correlation = self.given.correlation()
        for one, other in combinations(range(len(self.targets)), 2):
            name = f"{self.targets[one]}_{self.targets[other]}_correlation"
            self.put(name, correlation[:, one, other])

    def add_regions(self, name: str, regions: Array) -> None:
        """Add the ends of highest-density regions, (N, I, 2) or (N, T, I, 2)."""
        from mdncli.density.hdr import joined

        most = min(self.given.mixture.mu.shape[1], _MOST_INTERVALS)
        by_target = self.by_target(regions)
        for position, target in enumerate(self.targets):
            fewer, more = joined(by_target[:, position], most)
            self.had_joined |= more
            for interval in range(most):
                self.put(f"{target}_{name}_lo{interval + 1}", fewer[:, interval, 0])
                self.put(f"{target}_{name}_hi{interval + 1}", fewer[:, interval, 1])

    def add_parameters(self) -> None:
        """Add pi, mu, sigma and correlations of every component, those of one adjacent."""
        mixture = self.given.mixture
        for component in range(mixture.mu.shape[1]):
            self.put(f"pi{component + 1}", mixture.pi[:, component])
            for position, target in enumerate(self.targets):
                for part in ("mu", "sigma"):
                    values = getattr(mixture, part)[:, component, position]
                    self.put(f"{target}_{part}{component + 1}", values)
            if mixture.factor is None:
                continue
            for one, other in combinations(range(len(self.targets)), 2):
                rows = mixture.factor[:, component, one], mixture.factor[:, component, other]
                name = f"{self.targets[one]}_{self.targets[other]}_correlation{component + 1}"
                self.put(name, (rows[0] * rows[1]).sum(axis=1))


def percent(probability: float) -> str:
    """Return a probability in per cent with at least two integer digits: 05, 50, 97.5."""
    whole, dot, rest = f"{(Decimal(repr(probability)) * 100).normalize():f}".partition(".")
    return whole.zfill(2) + dot + rest


def blanked(columns: Columns, rows: NDArray[np.bool_]) -> Iterator[tuple[str, Array]]:
    """Yield the columns with NaN in these rows."""
    for name, values in columns.items():
        yield name, np.where(rows, np.nan, values)
