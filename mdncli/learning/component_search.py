"""The number of components, chosen by the density of rows held out."""

import math
from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from mdncli.columns.schema import Schema
from mdncli.density.model import ConditionalDensity
from mdncli.errors import DataError
from mdncli.learning.splits import Examples
from mdncli.learning.trainer import Epoch, Lesson, Watch
from mdncli.settings import Settings
from mdncli.types import Array

CANDIDATES = (1, 2, 3, 5, 8, 12, 20)
# Of the steps of one fit. With all candidates and the fit itself: 4.5 times one fit at most, but
# for epochs that cannot be halved.
_STEPS_EACH = 0.5
_HELD_OUT = 0.2
# Candidates in a row that are no better than those before, after which no larger one is tried.
_ENOUGH = 2


@dataclass(frozen=True)
class Choice:
    """What the search found.

    Attributes:
        mixtures: K.
        tried: mean NLL of each candidate on the rows held out, nats.
        density: of the trial with K components, for when there is no time left to learn longer.
    """

    mixtures: int
    tried: dict[int, float]
    density: ConditionalDensity


def choose_mixtures(
    examples: Examples, schema: Schema, settings: Settings, watch: Watch
) -> Generator[Epoch, None, Choice]:
    """Return the fewest components whose held-out NLL is the lowest within its noise.

    Each candidate K is one member that learns half as long as the fit will and holds out a fifth
    of the rows, or one's own, the same for all. Of those whose mean NLL exceeds the lowest by no
    more than the standard error of the difference, row by row, the smallest is chosen (the
    one-standard-error rule: Breiman et al. 1984, section 3.4.3, on paired differences).

    Args:
        examples: the rows.
        schema: of these rows.
        settings: of the fit to come.
        watch: asked after every step; once it has a reason to end, the best so far is chosen.
    """
    losses: dict[int, Array] = {}
    densities: dict[int, ConditionalDensity] = {}
    worse = 0
    for candidate in CANDIDATES:
        lesson = Lesson(examples, schema, _trial(settings, candidate, examples), watch)
        try:
            networks, outcome = yield from lesson.mixture(f"trying K = {candidate}: ")
        except DataError:
            # Learning failed for so many components; fewer may still do.
            if not losses:
                raise
            break
        densities[candidate] = lesson.density(networks, outcome)
        losses[candidate], weights = lesson.nll_held_out(densities[candidate])
        worse = worse + 1 if _chosen(losses, weights) < candidate else 0
        if worse == _ENOUGH or watch.reason_to_end():
            break
    chosen = _chosen(losses, weights)
    tried = {
        candidate: float(np.average(nll, weights=weights)) for candidate, nll in losses.items()
    }
    return Choice(chosen, tried, densities[chosen])


def _trial(settings: Settings, candidate: int, examples: Examples) -> Settings:
    held_out = max(settings.valid, _HELD_OUT)
    learned = 1.0 if examples.own is not None else 1.0 - held_out
    rows = round(learned * len(examples.y))
    epochs = max(1, round(_STEPS_EACH * settings.epochs_for(rows)))
    return replace(settings, mixtures=candidate, members=1, valid=held_out, epochs=epochs)


def _chosen(losses: dict[int, Array], weights: Array) -> int:
    means = {candidate: np.average(nll, weights=weights) for candidate, nll in losses.items()}
    best = losses[min(means, key=lambda candidate: float(means[candidate]))]
    # As many rows of equal weight would give a mean as exact (Kish 1965).
    count = float(weights.sum() ** 2 / (weights**2).sum())
    for candidate, nll in losses.items():
        difference = nll - best
        mean = float(np.average(difference, weights=weights))
        spread = math.sqrt(float(np.average((difference - mean) ** 2, weights=weights)))
        noise = spread / math.sqrt(count - 1.0) if count > 1.0 else math.inf
        if mean <= noise:
            return candidate
    raise AssertionError("the best is within its own noise")
