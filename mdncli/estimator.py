"""The scikit-learn class: `mdncli.fit` and its model in that library's conventions."""

import inspect
from dataclasses import fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

try:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.utils import check_array, check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "MixtureDensityRegressor needs scikit-learn: pip install 'mdncli[sklearn]'."
    ) from error

from mdncli.api import fit
from mdncli.columns.dataset import FEWEST_ROWS
from mdncli.density.distribution import Distribution
from mdncli.errors import MdnError
from mdncli.settings import Settings
from mdncli.task import target_names
from mdncli.types import Array

# scikit-learn's random states give seeds below this.
_SEEDS = 2**31 - 1
# The parameters beside those of `Settings`, with their defaults; None leaves a setting to the
# preset.
_OTHERS: dict[str, Any] = {
    "preset": "default",
    "min_sigma": None,
    "lower": None,
    "upper": None,
    "target_kind": "auto",
    "atom": None,
    "censor_below": None,
    "censor_above": None,
    "random_state": 0,
}
_SETTINGS = [each.name for each in fields(Settings) if each.name != "seed"]
_DEFAULTS: dict[str, Any] = {**dict.fromkeys(_SETTINGS), "baseline": False, **_OTHERS}


class MixtureDensityRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A mixture density network (Bishop 1994) that predicts the whole of p(y | x).

    Its parameters are those of `Settings` by the same names; None leaves a setting to the preset.
    Beside them:

        preset: `fast`, `default` or `best`.
        min_sigma, lower, upper: a number for all targets, or a dictionary by their names; see
            `mdncli.fit`.
        target_kind, atom, censor_below, censor_above: see `mdncli.fit`.
        random_state: the seed.

    Attributes:
        model_: the `ConditionalDensity` that was fitted.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(size=(200, 1))
    >>> reg = MixtureDensityRegressor(mixtures=2, steps=50).fit(X, X[:, 0] + rng.normal(size=200))
    >>> reg.predict_quantiles(X[:3], [0.1, 0.9]).shape
    (3, 2)
    """

    def __init__(self, mixtures: Any = None, **parameters: Any) -> None:
        given = {"mixtures": mixtures, **parameters}
        for name in given:
            if name not in _DEFAULTS:
                raise TypeError(f"MixtureDensityRegressor has no parameter {name!r}")
        for name, default in _DEFAULTS.items():
            setattr(self, name, given.get(name, default))

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Learn p(y | x).

        Args:
            X: (N, F), numbers.
            y: (N,), or (N, T) for several targets.
            sample_weight: (N,), how much each row counts: zero or more.

        Raises:
            ValueError: the rows cannot be learned from, or a parameter is out of its range.
        """
        given_y = y
        x, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        self._one_target = y.ndim == 1
        weights = None if sample_weight is None else _weights(sample_weight, len(y))
        rows = len(y) if weights is None else int((weights > 0.0).sum())
        if rows < FEWEST_ROWS:
            raise ValueError(f"n_samples={rows} is too few: at least {FEWEST_ROWS} are needed.")
        features = [str(name) for name in getattr(self, "feature_names_in_", [])]
        features = features or [f"x{i + 1}" for i in range(x.shape[1])]
        targets = y.reshape(len(y), -1)
        table = dict(zip(features, x.T, strict=True))
        table |= dict(zip(target_names(given_y, features), targets.T, strict=True))
        try:
            self.model_ = fit(
                table,
                target=list(table)[len(features) :],
                numeric=list(table)[: len(features)],
                weight=weights,
                **self._parameters(),
            )
        except MdnError as error:
            raise ValueError(str(error)) from error
        self._kept = [features.index(name) for name in self.model_.schema.feature_names]
        return self

    def _parameters(self) -> dict[str, Any]:
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(_SEEDS)
        given = self.get_params(deep=False)
        del given["random_state"]
        return {**given, "baseline": self.baseline or None, "seed": int(seed)}

    def condition(self, X: Any) -> Distribution:  # noqa: N803
        """Return the distribution of y at each row of X, (N, F), with all that it answers."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        distribution: Distribution = self.model_.condition(x[:, self._kept])
        return distribution

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Return E[y | x], shape (N,) or (N, T)."""
        return self._shaped(self.condition(X).mean())

    def predict_var(self, X: Any) -> Array:  # noqa: N803
        """Return Var[y | x], shape (N,) or (N, T)."""
        return self._shaped(self.condition(X).variance())

    def predict_quantiles(self, X: Any, alpha: ArrayLike) -> Array:  # noqa: N803
        """Return quantiles, shape (N, Q) or (N, T, Q), for Q probabilities; for one, Q is 1."""
        return self._shaped(self.condition(X).quantile(np.atleast_1d(alpha)))

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Array:  # noqa: N803
        """Return the low and high end of the central interval, shape (N, 2) or (N, T, 2)."""
        return self._shaped(self.condition(X).interval(coverage))

    def sample(self, X: Any, n: int = 1, *, seed: int = 0) -> Array:  # noqa: N803
        """Return n draws of y for each row, shape (N, n) or (N, T, n)."""
        return self._shaped(self.condition(X).sample(n, seed=seed))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the mean log-likelihood, log p(y | x), in nats per row: higher is better."""
        distribution = self.condition(X)
        values = check_array(y, dtype=np.float64, ensure_2d=False).reshape(len(distribution), -1)
        weights = None if sample_weight is None else _weights(sample_weight, len(distribution))
        return float(np.average(distribution.log_prob(values), weights=weights))

    def _shaped(self, answer: Array) -> Array:
        """Return an answer with the axis of targets that y of shape (N, 1) had."""
        lacking = not self._one_target and len(self.model_.schema.targets) == 1
        return answer[:, None] if lacking else answer

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        # `score` is a log-likelihood, not R^2.
        tags.regressor_tags.poor_score = True
        return tags


def _signature() -> inspect.Signature:
    """Return the parameters of the class, as scikit-learn and `help` look for them."""
    kinds = inspect.Parameter
    own = [kinds("self", kinds.POSITIONAL_OR_KEYWORD)]
    own.append(kinds("mixtures", kinds.POSITIONAL_OR_KEYWORD, default=None))
    rest = [name for name in _DEFAULTS if name != "mixtures"]
    return inspect.Signature(
        [*own, *(kinds(name, kinds.KEYWORD_ONLY, default=_DEFAULTS[name]) for name in rest)]
    )


MixtureDensityRegressor.__init__.__signature__ = _signature()  # type: ignore[attr-defined]


def _weights(sample_weight: Any, rows: int) -> Array:
    """Return a weight for each row, (N,), from those given, or from one for all."""
    weights = np.asarray(sample_weight, dtype=np.float64)
    weights = check_array(
        np.broadcast_to(weights, (rows,)) if not weights.ndim else weights,
        dtype=np.float64,
        ensure_2d=False,
        input_name="sample_weight",
    )
    if weights.shape != (rows,) or (weights < 0.0).any() or not (weights > 0.0).any():
        raise ValueError(
            f"sample_weight must be {rows} numbers, none of them negative and not all of them zero."
        )
    return np.asarray(weights)
