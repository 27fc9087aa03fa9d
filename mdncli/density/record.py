"""How a model came to be: its training, its origin, and what each of its components does."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mdncli.density.mixture import GaussianMixture
from mdncli.types import Array

# Two components are similar at a row if their means are at most this many sigmas apart, and the
# ratio of their sigmas is at most 1 plus this. Duplicates are similar on most rows.
_SIMILAR = 0.1
_MOST_ROWS = 0.9
# A component of less weight counts as unused, and not as a duplicate.
_USED = 1e-3
# A sigma within this factor of its minimum counts as being at the minimum.
_AT_MINIMUM = 1.05


@dataclass(frozen=True)
class MemberReport:
    """How the K components of one member are used over some rows.

    Attributes:
        weight: the mean pi of each component, (K,).
        leads: the share of rows where each component has the largest pi, (K,).
        at_floor: the share of rows where one of its sigmas is within 5% of the minimum, (K,). With
            correlated targets this holds for the conditional sigma, given the earlier targets.
        effective: exp of the entropy of `weight`, the effective number of components.
        duplicates: the number of components that are similar to an earlier one on 90% of the rows.
    """

    weight: list[float]
    leads: list[float]
    at_floor: list[float]
    effective: float
    duplicates: int

    @property
    def weight_at_floor(self) -> float:
        """The share of the total weight on components at their minimum sigma."""
        return sum(w * share for w, share in zip(self.weight, self.at_floor, strict=True))


def report(mixture: GaussianMixture, min_sigma: Array) -> MemberReport:
    """Return the report on one member.

    Args:
        mixture: the member's mixtures at N rows.
        min_sigma: (T,), the smallest sigma of each target, in the units of the mixtures.
    """
    pi, sigma = mixture.pi, mixture.sigma
    if mixture.factor is not None:
        # The minimum holds for the sigma of each target given the targets before it.
        sigma = sigma * np.diagonal(mixture.factor, axis1=2, axis2=3)
    rows, components = pi.shape
    weight = pi.mean(axis=0)
    leads = np.bincount(pi.argmax(axis=1), minlength=components) / rows
    at_floor = (sigma <= _AT_MINIMUM * min_sigma).any(axis=2).mean(axis=0)
    used = weight[weight > 0.0]
    return MemberReport(
        weight=weight.tolist(),
        leads=leads.tolist(),
        at_floor=at_floor.tolist(),
        effective=float(np.exp(-(used * np.log(used)).sum())),
        duplicates=_duplicates(mixture, weight),
    )


def _duplicates(mixture: GaussianMixture, weight: Array) -> int:
    """Return how many used components are similar to a heavier one."""
    kept: list[int] = []
    used = [int(k) for k in np.argsort(-weight, kind="stable") if weight[k] > _USED]
    for component in used:
        if not any(_are_duplicates(mixture, component, other) for other in kept):
            kept.append(component)
    return len(used) - len(kept)


def _are_duplicates(mixture: GaussianMixture, one: int, other: int) -> bool:
    """Return whether two components are similar on most rows."""
    mu, sigma, factor = mixture.mu, mixture.sigma, mixture.factor
    narrow = np.minimum(sigma[:, one], sigma[:, other])
    close = np.abs(mu[:, one] - mu[:, other]) <= _SIMILAR * narrow
    alike = np.maximum(sigma[:, one], sigma[:, other]) <= (1.0 + _SIMILAR) * narrow
    similar = (close & alike).all(axis=1)
    if factor is not None:
        similar &= (np.abs(factor[:, one] - factor[:, other]) <= _SIMILAR).all(axis=(1, 2))
    return bool(similar.mean() >= _MOST_ROWS)


@dataclass(frozen=True)
class TrainingRecord:
    """How training went. Every NLL is in nats per row, in the units of the file.

    Attributes:
        rows: the number of rows that were used, for training or for validation.
        rows_valid: the number of them that any member held out for early stopping.
        epochs: the number of epochs trained.
        best_epochs: for each member, the epoch with the weights that it keeps, counted from 1.
        stopped: why training ended: `epochs`, `patience`, `time`, `interrupted` or `faults`.
        faults: how often NaN, inf or a sudden rise of the loss was detected and undone.
        nll_train: of the model on the training rows.
        nll_valid: on the validation rows. Where the members held out different rows, each row is
            scored by the member that held it out; otherwise by the model.
        history: `nll_train` and `nll_valid` of each epoch, measured during training.
        reference: the NLL of the marginal reference on the rows of `nll_train` and `nll_valid`.
        components: the report on each member's components.
        tried: where K was chosen automatically, the mean validation NLL of each K.
        cv: the scores of each fold of an earlier cross-validation; empty without one.
    """

    rows: int
    rows_valid: int
    epochs: int
    best_epochs: list[int]
    stopped: str
    faults: int
    nll_train: float
    nll_valid: float
    history: dict[str, list[float]]
    reference: dict[str, float]
    components: list[MemberReport]
    tried: dict[int, float]
    cv: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        request: what `fit` was asked for, as plain data: parameter name to value, without those
            that were left at their default.
        dialect: how the training table was read, as plain data: only what differs from the default.
        table_sha256: the hash of the training table's bytes, in hexadecimal digits.
        versions: the versions of Python and of the packages that affect the result, by name.
    """

    request: dict[str, Any] = field(default_factory=dict)
    dialect: dict[str, Any] = field(default_factory=dict)
    table_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
