"""The number of mixture components, chosen by the NLL of held-out rows."""

import math
from dataclasses import dataclass, replace

import numpy as np

from mdncli.columns.dataset import Dataset
from mdncli.columns.schema import Schema
from mdncli.density.model import MixtureDensityNetwork
from mdncli.errors import DataError
from mdncli.learning.trainer import Monitor, Trainer
from mdncli.settings import Settings
from mdncli.types import Array

CANDIDATES = (1, 2, 3, 5, 8, 12, 20)
# The share of the epochs of a fit that a trial takes. The search and the fit together then take at
# most 4.5 times as long as the fit, unless the fit has so few epochs that they cannot be halved.
_SHARE_OF_EPOCHS = 0.5
_HELD_OUT = 0.2
# The search ends after this many candidates in a row without an improvement.
_PATIENCE = 2


@dataclass(frozen=True)
class Choice:
    """The result of the search.

    Attributes:
        mixtures: K.
        tried: the mean NLL of each candidate on the held-out rows, nats.
        model: of the trial with K components, in case no time is left for a longer fit.
    """

    mixtures: int
    tried: dict[int, float]
    model: MixtureDensityNetwork


def choose_mixtures(
    dataset: Dataset, schema: Schema, settings: Settings, monitor: Monitor
) -> Choice:
    """Return the smallest number of components with the lowest NLL on held-out rows, within noise.

    For each candidate K, one member learns for half as many epochs as the fit will. It holds out a
    fifth of the rows, or the user's own validation rows, the same for all candidates. The choice is
    the smallest K with a mean NLL that exceeds the lowest one by no more than the standard error of
    their difference over the rows (the one-standard-error rule: Breiman et al. 1984, section 3.4.3,
    for paired differences).

    Args:
        dataset: the rows.
        schema: of these rows.
        settings: of the fit to come.
        monitor: once it has a reason to stop, the best candidate so far is chosen.

    Raises:
        DataError: not even the first candidate has an epoch with a finite loss.
    """
    nlls: dict[int, Array] = {}
    models: dict[int, MixtureDensityNetwork] = {}
    without_improvement = 0
    for candidate in CANDIDATES:
        trial = _trial_settings(settings, candidate, dataset)
        trainer = Trainer(dataset, schema, trial, monitor)
        try:
            networks, result = trainer.train_mixture(f"trying K = {candidate}: ")
        except DataError:
            # Training may fail for many components and succeed for few.
            if not nlls:
                raise
            break
        models[candidate] = trainer.model(networks, result)
        nlls[candidate], weights = trainer.nll_held_out(models[candidate])
        improved = _smallest_within_noise(nlls, weights) == candidate
        without_improvement = 0 if improved else without_improvement + 1
        if without_improvement == _PATIENCE or monitor.reason_to_stop():
            break
    chosen = _smallest_within_noise(nlls, weights)
    tried = {candidate: float(np.average(nll, weights=weights)) for candidate, nll in nlls.items()}
    return Choice(chosen, tried, models[chosen])


def _trial_settings(settings: Settings, candidate: int, dataset: Dataset) -> Settings:
    held_out = max(settings.valid, _HELD_OUT)
    learned = 1.0 if dataset.validation is not None else 1.0 - held_out
    rows = round(learned * len(dataset.y))
    epochs = max(1, round(_SHARE_OF_EPOCHS * settings.epochs_for(rows)))
    return replace(settings, mixtures=candidate, members=1, valid=held_out, epochs=epochs)


def _smallest_within_noise(nlls: dict[int, Array], weights: Array) -> int:
    means = {candidate: float(np.average(nll, weights=weights)) for candidate, nll in nlls.items()}
    best = nlls[min(means, key=lambda candidate: means[candidate])]
    # The effective number of rows: as many rows of equal weight have as exact a mean (Kish 1965).
    count = float(weights.sum() ** 2 / (weights**2).sum())
    for candidate, nll in nlls.items():
        difference = nll - best
        mean = float(np.average(difference, weights=weights))
        spread = math.sqrt(float(np.average((difference - mean) ** 2, weights=weights)))
        standard_error = spread / math.sqrt(count - 1.0) if count > 1.0 else math.inf
        if mean <= standard_error:
            return candidate
    raise AssertionError("the best candidate does not differ from itself")
