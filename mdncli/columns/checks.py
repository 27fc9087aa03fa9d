"""Checks of the rows to learn from, with a warning for each thing that makes a model misleading.

The checks look for leakage (a feature that is nearly the target), for a value that many rows share,
for a minimum sigma that one target imposes on the others, and for too few rows.
"""

import numpy as np

from mdncli.columns.dataset import Dataset
from mdncli.columns.schema import Schema, Target
from mdncli.errors import parameter, warn
from mdncli.settings import Settings
from mdncli.text import quoted
from mdncli.types import Array

# A feature is nearly the target if its correlation with it, or that of their ranks, exceeds this.
_NEARLY = 0.9999
_MOST_ROWS = 20_000
_FEW_ROWS = 50
# In standard deviations: a target with a smaller step is as good as continuous.
_FINE_STEP = 0.01
# In standard deviations: a minimum sigma above this is wide.
_WIDE_SIGMA = 0.1
# A value is reported if more than this share of the rows hold it, and at least so many rows.
_REPEATED_SHARE, _FEWEST_REPEATED = 0.05, 3


def check_training_rows(dataset: Dataset, schema: Schema, settings: Settings) -> None:
    """Warn of what makes a model of these rows misleading."""
    for position, target in enumerate(schema.targets):
        _check_repeated_value(target, dataset.y[:, position])
    _check_leakage(dataset, schema)
    _check_shared_sigma(schema, settings)
    if len(dataset) < _FEW_ROWS:
        warn(f"With {len(dataset)} rows the validation NLL is unreliable.")


def _check_repeated_value(target: Target, values: Array) -> None:
    if target.step is not None and target.step >= _FINE_STEP * target.scale:
        return
    repeated = repeated_value(values)
    if repeated:
        warn(
            f"{repeated[1]:.0%} of the rows have exactly {repeated[0]:g} as {quoted(target.name)}. "
            "A mixture can only put a narrow component there; consider a model without these rows."
        )


def _check_leakage(dataset: Dataset, schema: Schema) -> None:
    numbers = [i for i, feature in enumerate(schema.features) if feature.periodic_width]
    typical = [schema.features[i].typical for i in numbers]
    x = np.where(np.isnan(dataset.x[:, numbers]), typical, dataset.x[:, numbers])
    names = [schema.features[i].name for i in numbers]
    for position, target in enumerate(schema.target_names):
        for name in leaking_features(x, dataset.y[:, position], names):
            warn(
                f"{quoted(name)} is nearly the target {quoted(target)} itself. Is it known before "
                f"the target is? If not, leave it out: {parameter('ignore', repr(name))}."
            )


def _check_shared_sigma(schema: Schema, settings: Settings) -> None:
    smallest = schema.min_sigma
    widest = int(smallest.argmax())
    if settings.covariance == "isotropic" and len(smallest) > 1 and smallest[widest] > _WIDE_SIGMA:
        warn(
            f"With {parameter('covariance', repr('isotropic'))} no σ is below "
            f"{smallest[widest]:.2g} standard deviations of any target, because "
            f"{quoted(schema.target_names[widest])} was recorded in large steps."
        )


def repeated_value(values: Array) -> tuple[float, float] | None:
    """Return the value that more than 5% of the rows hold and their share; None if there is none.

    Args:
        values: (N,).
    """
    distinct, counts = np.unique(values, return_counts=True)
    most = int(counts.argmax())
    share = float(counts[most] / len(values))
    many = counts[most] >= _FEWEST_REPEATED and share > _REPEATED_SHARE
    return (float(distinct[most]), share) if many else None


def leaking_features(x: Array, y: Array, names: list[str]) -> list[str]:
    """Return the names of the features that are nearly the target, or a monotone function of it.

    Args:
        x: (N, F), no feature constant.
        y: (N,), not constant.
        names: of the features, (F,).
    """
    some = slice(None, None, max(1, len(y) // _MOST_ROWS))
    leaking = []
    for position, name in enumerate(names):
        feature, target = x[some, position], y[some]
        pairs = (feature, target), (_ranks(feature), _ranks(target))
        if any(_correlation(*pair) > _NEARLY for pair in pairs):
            leaking.append(name)
    return leaking


def _correlation(one: Array, other: Array) -> float:
    one, other = (v / (np.abs(v).max() or 1.0) for v in (one, other))
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt((one @ one) * (other @ other)))
    return abs(float(one @ other)) / size if size > 0.0 else 0.0


def _ranks(values: Array) -> Array:
    """Return the mean rank of each value."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (counts.cumsum() - 0.5 * counts)[place]
    return ranks
