"""What each component of a model does: how often it is used, repeated, or down at its floor.

How a model came to be: its training and its origin.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mdncli.density.mixture import GaussianMixture
from mdncli.types import Array

# Two components are the same one where their means lie this many sigmas apart at most, and their
# sigmas differ by this factor less one; duplicates, where they are so on most rows.
_SAME = 0.1
_MOST_ROWS = 0.9
# A component of less weight is not used, so it repeats nothing.
_USED = 1e-3
_AT_FLOOR = 1.05


@dataclass(frozen=True)
class MemberReport:
    """The K components of one member, over some rows.

    Attributes:
        weight: mean pi of each, (K,).
        leads: share of rows where it has the largest pi, (K,).
        at_floor: share of rows where one of its sigmas, or what other targets leave of it, is
            within 5% of the floor, (K,).
        effective: exp of the entropy of `weight`: how many components equal use would amount to.
        duplicates: components that repeat an earlier one on 90% of the rows.
    """

    weight: list[float]
    leads: list[float]
    at_floor: list[float]
    effective: float
    duplicates: int

    @property
    def weight_at_floor(self) -> float:
        """The share of all weight that lies on components at their floor."""
        return sum(w * share for w, share in zip(self.weight, self.at_floor, strict=True))


def report(mixture: GaussianMixture, floor: Array) -> MemberReport:
    """Return the report on one member's answers, (N, K), with the floor of sigma, (T,)."""
    pi, left = mixture.pi, mixture.sigma
    if mixture.factor is not None:
        # Correlated targets are at the floor where those before leave nothing of one.
        left = left * np.diagonal(mixture.factor, axis1=2, axis2=3)
    rows, components = pi.shape
    weight = pi.mean(axis=0)
    leads = np.bincount(pi.argmax(axis=1), minlength=components) / rows
    at_floor = (left <= _AT_FLOOR * floor).any(axis=2).mean(axis=0)
    used = weight[weight > 0.0]
    return MemberReport(
        weight=weight.tolist(),
        leads=leads.tolist(),
        at_floor=at_floor.tolist(),
        effective=float(np.exp(-(used * np.log(used)).sum())),
        duplicates=_duplicates(mixture, weight),
    )


def _duplicates(mixture: GaussianMixture, weight: Array) -> int:
    kept: list[int] = []
    used = [int(k) for k in np.argsort(-weight, kind="stable") if weight[k] > _USED]
    for component in used:
        if not any(_same(mixture, component, other) for other in kept):
            kept.append(component)
    return len(used) - len(kept)


def _same(mixture: GaussianMixture, one: int, other: int) -> bool:
    mu, sigma, factor = mixture.mu, mixture.sigma, mixture.factor
    narrow = np.minimum(sigma[:, one], sigma[:, other])
    near = np.abs(mu[:, one] - mu[:, other]) <= _SAME * narrow
    alike = np.maximum(sigma[:, one], sigma[:, other]) <= (1.0 + _SAME) * narrow
    same = (near & alike).all(axis=1)
    if factor is not None:
        same &= (np.abs(factor[:, one] - factor[:, other]) <= _SAME).all(axis=(1, 2))
    return bool(same.mean() >= _MOST_ROWS)


@dataclass(frozen=True)
class TrainingRecord:
    """How training went; NLLs are in nats a row, in the units of the file.

    Attributes:
        rows: that were learned from or held out.
        rows_valid: of them, held out for early stopping, by whichever member.
        epochs: trained.
        best_epochs: of each member, the epoch whose weights it keeps, from 1.
        stopped: why training ended: `epochs`, `patience`, `time`, `interrupted` or `faults`.
        faults: times that NaN, inf or a blown-up loss was met and undone.
        nll_train: of the model on the rows that it learned from.
        nll_valid: on the rows held out, each by the member that held it out; of the model where
            all members held out the same rows.
        history: `nll_train` and `nll_valid` by epoch, as they were measured during training.
        reference: NLL of the unconditional mixture on the rows of `nll_train` and `nll_valid`.
        components: the report on each member's components.
        tried: with `-k auto`, the mean held-out NLL of each number of components.
        cv: the scores of each fold of a cross-validation that came before; none without one.
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
        command: the command line that made it, without the names of files.
        table_sha256: of the training table's bytes, as hexadecimal digits.
        versions: of Python and of the packages that decide the result, by name.
    """

    command: str = ""
    table_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
