"""The scikit-learn class: the same learning and the same answers, in that library's conventions."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from mdncli.columns.kinds import Roles
from mdncli.columns.schema import FEWEST_ROWS, learnable
from mdncli.columns.transforms import bounds_of
from mdncli.density.distribution import Distribution
from mdncli.density.model import ConditionalDensity
from mdncli.errors import MdnError
from mdncli.learning.fit import learned
from mdncli.learning.splits import Examples, mean_one
from mdncli.settings import Activation, Covariance, Device, Mixtures, Noise, Preset, Settings
from mdncli.types import Array

try:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.utils import check_array, check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "MixtureDensityRegressor needs scikit-learn: pip install 'mdncli[sklearn]'."
    ) from error


# The seeds that scikit-learn's own random states give.
_SEEDS = 2**31 - 1


class MixtureDensityRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A mixture density network (Bishop 1994) that predicts the whole of p(y | x).

    Every parameter but `preset`, those of targets and `random_state` is one of the options of
    `mdn fit` and of `mdncli.settings.Settings`, by the same name; None leaves it to the preset.
    `min_sigma`, `lower` and `upper` are a number for all targets, or a dictionary by their names.

    Attributes:
        model_: the `ConditionalDensity` that was learned.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(size=(200, 1))
    >>> reg = MixtureDensityRegressor(mixtures=2, steps=50).fit(X, X[:, 0] + rng.normal(size=200))
    >>> reg.predict_quantiles(X[:3], [0.1, 0.9]).shape
    (3, 2)
    """

    def __init__(
        self,
        mixtures: Mixtures | None = None,
        *,
        preset: Preset = "default",
        members: int | None = None,
        hidden: tuple[int, ...] | None = None,
        activation: Activation | None = None,
        frequencies: int | None = None,
        covariance: Covariance | None = None,
        valid: float | None = None,
        steps: int | None = None,
        epochs: int | None = None,
        patience: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        dropout: float | None = None,
        noise_x: Noise | None = None,
        noise_y: Noise | None = None,
        time_limit: float | None = None,
        threads: int | None = None,
        device: Device | None = None,
        baseline: bool = False,
        min_sigma: float | dict[str, float] | None = None,
        lower: float | dict[str, float] | None = None,
        upper: float | dict[str, float] | None = None,
        random_state: Any = 0,
    ) -> None:
        self.mixtures = mixtures
        self.preset = preset
        self.members = members
        self.hidden = hidden
        self.activation = activation
        self.frequencies = frequencies
        self.covariance = covariance
        self.valid = valid
        self.steps = steps
        self.epochs = epochs
        self.patience = patience
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.noise_x = noise_x
        self.noise_y = noise_y
        self.time_limit = time_limit
        self.threads = threads
        self.device = device
        self.baseline = baseline
        self.min_sigma = min_sigma
        self.lower = lower
        self.upper = upper
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: N803
        """Learn p(y | x).

        Args:
            X: (N, F), numbers.
            y: (N,), or (N, T) for several targets.
            sample_weight: (N,), how much each row counts: zero or more.

        Raises:
            ValueError: the rows cannot be learned from, or a parameter is out of its range.
        """
        names = _target_names(y)
        x, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        self._one_target = y.ndim == 1
        y = y.reshape(len(y), -1)
        weights = None
        if sample_weight is not None:
            weights = _weights(sample_weight, len(y))
            x, y, weights = x[weights > 0.0], y[weights > 0.0], weights[weights > 0.0]
        if len(y) < FEWEST_ROWS:
            raise ValueError(f"n_samples={len(y)} is too few: at least {FEWEST_ROWS} are needed.")
        features = [str(name) for name in getattr(self, "feature_names_in_", [])]
        features = features or [f"x{i + 1}" for i in range(x.shape[1])]
        roles = Roles(features, names or _new_names(y.shape[1], features))
        try:
            self.model_ = self._learned(x, y, weights, roles)
        except MdnError as error:
            raise ValueError(str(error)) from error
        return self

    def _learned(
        self, x: Array, y: Array, weights: Array | None, roles: Roles
    ) -> ConditionalDensity:
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(_SEEDS)
        given = self.get_params(deep=False)
        for name in ("preset", "min_sigma", "lower", "upper", "random_state"):
            del given[name]
        given["hidden"] = None if self.hidden is None else tuple(self.hidden)
        settings = Settings.of(self.preset, **given, seed=int(seed))
        floors, lower, upper = (
            _by_target(each, roles.targets) for each in (self.min_sigma, self.lower, self.upper)
        )
        bounds = bounds_of(lower, upper)
        schema, kept = learnable("the data", x, y, roles, min_sigma=floors, bounds=bounds)
        self._kept = kept
        if weights is not None:
            weights = mean_one(weights)
        return learned(Examples(x[:, kept], y, weights=weights), schema, settings)

    def condition(self, X: Any) -> Distribution:  # noqa: N803
        """Return the distribution of y at each row of X, (N, F), with all that it answers."""
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        return self.model_.condition(x[:, self._kept])

    def predict(self, X: Any) -> Array:  # noqa: N803
        """Return E[y | x], shape (N,) or (N, T)."""
        return self._shaped(self.condition(X).mean())

    def predict_var(self, X: Any) -> Array:  # noqa: N803
        """Return Var[y | x], shape (N,) or (N, T)."""
        return self._shaped(self.condition(X).variance())

    def predict_quantiles(self, X: Any, alpha: ArrayLike) -> Array:  # noqa: N803
        """Return quantiles, shape (N, Q) or (N, T, Q), for Q probabilities; one is Q = 1."""
        return self._shaped(self.condition(X).quantile(np.atleast_1d(alpha)))

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Array:  # noqa: N803
        """Return the central interval's low and high end, shape (N, 2) or (N, T, 2)."""
        return self._shaped(self.condition(X).interval(coverage))

    def sample(self, X: Any, n: int = 1, *, seed: int = 0) -> Array:  # noqa: N803
        """Return n draws of y for each row, shape (N, n) or (N, T, n)."""
        return self._shaped(self.condition(X).sample(n, seed=seed))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the mean log-likelihood, log p(y | x), in nats a row: higher is better."""
        given = self.condition(X)
        values = check_array(y, dtype=np.float64, ensure_2d=False).reshape(len(given), -1)
        weights = None if sample_weight is None else _weights(sample_weight, len(given))
        return float(np.average(given.log_prob(values), weights=weights))

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


def _by_target(value: float | dict[str, float] | None, targets: list[str]) -> dict[str, float]:
    """Return a parameter that is a number for all targets, or one for each, by name."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else dict.fromkeys(targets, float(value))


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
            f"sample_weight must be {rows} numbers, none negative and not all of them zero."
        )
    return np.asarray(weights)


def _new_names(targets: int, taken: list[str]) -> list[str]:
    """Return y, or y1, y2, …: names that no feature has."""
    stem = "y"
    while any(name.startswith(stem) for name in taken):
        stem += "_"
    return [stem] if targets == 1 else [f"{stem}{i + 1}" for i in range(targets)]


def _target_names(y: Any) -> list[str]:
    """Return the names that y carries, as a DataFrame or a named Series does."""
    if hasattr(y, "columns"):
        return [str(name) for name in y.columns]
    name = getattr(y, "name", None)
    return [] if name is None or callable(name) else [str(name)]
