"""The distribution of some targets, given the values of the others."""

import numpy as np
import pytest
from density.correlated import correlated
from density.models import two_targets

from mdncli.columns.transforms import IDENTITY, transform_between
from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture, GivenTargets, remaining_targets
from mdncli.errors import DataError, ParameterError

TRANSFORMS = (transform_between(0.0, None), IDENTITY, transform_between(-1.0, 2.0))
NAMES = ("a", "b", "c")


class Lazy:
    """A source that computes mixtures piece by piece, and records the pieces."""

    def __init__(self, mixture: GaussianMixture) -> None:
        self._mixture = mixture
        self.largest = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        return self._mixture.shape

    def rows(self, chosen: slice) -> GaussianMixture:
        part = self._mixture.rows(chosen)
        self.largest = max(self.largest, len(part.log_pi))
        return part


def joint(rows: int = 40, seed: int = 0) -> Distribution:
    return Distribution(correlated(rows, 3, 3, seed), TRANSFORMS, NAMES)


@pytest.mark.parametrize("given", [["a"], ["c"], ["a", "c"], ["b", "c"]])
def test_the_joint_density_is_marginal_times_conditional(given: list[str]) -> None:
    whole = joint()
    y = whole.sample(1, seed=3)[:, :, 0]
    values = {name: y[:, NAMES.index(name)] for name in given}
    rest = [name for name in NAMES if name not in given]
    conditional = whole.given(values)
    assert conditional.names == rest
    of_given = whole.marginal(*given).log_prob(y[:, [NAMES.index(name) for name in given]])
    of_rest = conditional.log_prob(y[:, [NAMES.index(name) for name in rest]])
    np.testing.assert_allclose(of_given + of_rest, whole.log_prob(y), rtol=1e-9, atol=1e-9)


def test_given_twice_is_given_together() -> None:
    whole = joint()
    once = whole.given(a=1.5, c=0.5)
    twice = whole.given(a=1.5).given({"c": 0.5})
    np.testing.assert_allclose(twice.quantile([0.1, 0.9]), once.quantile([0.1, 0.9]), rtol=1e-9)


def test_one_number_is_that_number_in_every_row() -> None:
    whole = joint()
    one, many = whole.given(a=1.5), whole.given({"a": np.full(40, 1.5)})
    np.testing.assert_array_equal(one.mean(), many.mean())
    np.testing.assert_array_equal(whole.given({}).mean(), whole.mean())


def test_a_source_that_computes_pieces_is_conditioned_piece_by_piece() -> None:
    mixture = correlated(20_000, 30, 3)
    lazy = Lazy(mixture)
    y = Distribution(mixture, TRANSFORMS, NAMES).sample(1)[:, :, 0]
    found = Distribution(lazy, TRANSFORMS, NAMES).given(b=y[:, 1]).median()
    expected = Distribution(mixture, TRANSFORMS, NAMES).given(b=y[:, 1]).median()
    np.testing.assert_array_equal(found, expected)
    assert 0 < lazy.largest < 20_000


def test_row_wise_values_of_a_long_table_are_those_of_each_row() -> None:
    """Every row of 60,000 has the distribution that it has alone."""
    model, _, _ = two_targets()
    rng = np.random.default_rng(0)
    rows = 60_000
    x = rng.normal(size=(rows, 3)) * [1.0, 10.0, 0.1] + [0.0, 50.0, 3.0]
    v = rng.normal(scale=0.7, size=rows)
    found = model.distribution(x).given(v=v)
    assert len(found) == rows
    mean, std = found.mean(), found.std()
    for row in range(0, rows, 997):
        one = model.distribution(x[row : row + 1]).given(v=float(v[row]))
        np.testing.assert_allclose([one.mean()[0], one.std()[0]], [mean[row], std[row]], rtol=1e-6)
    # All rows are compared with the formula for two correlated Gaussians, component by component.
    mixture = model.mixture(x)
    [mu_u, mu_v], [sigma_u, sigma_v] = (np.moveaxis(p, 2, 0) for p in (mixture.mu, mixture.sigma))
    rho = 0.0 if mixture.factor is None else mixture.factor[:, :, 1, 0]
    z = (v[:, None] - mu_v) / sigma_v
    log_weight = mixture.log_pi - np.log(sigma_v) - 0.5 * z**2
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    means, variances = mu_u + rho * sigma_u * z, sigma_u**2 * (1.0 - rho**2)
    expected = (weight * means).sum(axis=1)
    np.testing.assert_allclose(mean, expected, rtol=1e-9)
    spread = (weight * (variances + (means - expected[:, None]) ** 2)).sum(axis=1)
    np.testing.assert_allclose(std, np.sqrt(spread), rtol=1e-9)


def test_draws_keep_the_given_values_and_follow_the_conditional() -> None:
    model, _, _ = two_targets()
    x = np.tile([[0.0, 50.0, 3.0]], (2, 1))
    v = np.array([-0.5, 0.5])
    drawn = list(model.draws(x, 5000, np.random.default_rng(0), given={"v": v}))
    rows = np.concatenate([piece.rows for piece in drawn])
    y = np.concatenate([piece.y for piece in drawn])
    np.testing.assert_array_equal(y[:, 1], v[rows])
    conditional = model.distribution(x).given(v=v)
    for row in range(2):
        error = conditional.std()[row] / np.sqrt(5000)
        assert abs(y[rows == row, 0].mean() - conditional.mean()[row]) < 5.0 * error


def test_completed_draws_are_in_the_order_of_the_targets() -> None:
    known = GivenTargets.read({"b": np.array([5.0, 6.0])}, NAMES, TRANSFORMS, 2)
    u = np.array([[[0.1, 0.2]], [[0.3, 0.4]]])
    y = known.complete(u, slice(0, 2))
    np.testing.assert_array_equal(y[:, 0, 1], [5.0, 6.0])
    np.testing.assert_array_equal(y[:, 0, 0], TRANSFORMS[0].forward(u[:, 0, 0]))
    np.testing.assert_array_equal(y[:, 0, 2], TRANSFORMS[2].forward(u[:, 0, 1]))


def test_a_target_that_does_not_exist_is_refused_with_the_nearest_name() -> None:
    whole = Distribution(correlated(4, 2, 2), names=["width", "height"])
    with pytest.raises(DataError, match=r"no target 'widht'\. Did you mean 'width'\?"):
        whole.given(widht=1.0)
    with pytest.raises(DataError, match="no target 'depth'"):
        whole.marginal("depth")


def test_at_least_one_target_must_remain() -> None:
    with pytest.raises(ParameterError, match=r"given names every target \('a', 'b', 'c'\)"):
        joint().given(a=1.0, b=1.0, c=1.0)
    assert remaining_targets(["b"], list(NAMES)) == ["a", "c"]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_row(wrong: float) -> None:
    values = np.ones(40)
    values[7] = wrong
    with pytest.raises(DataError, match=f"row 8: the given value of 'b' is {wrong}, not a finite"):
        joint().given(b=values)
    with pytest.raises(DataError, match=f"^the given value of 'b' is {wrong}, not a finite"):
        joint().given(b=wrong)


@pytest.mark.parametrize(
    ("name", "wrong", "where"), [("a", 0.0, "above lower=0"), ("c", 2.5, "below upper=2")]
)
def test_a_value_at_a_bound_or_beyond_is_refused_with_its_row(
    name: str, wrong: float, where: str
) -> None:
    values = np.ones(40)
    values[3] = wrong
    message = f"the given value of '{name}' is {wrong:g}, where the density is 0.*{where}"
    with pytest.raises(DataError, match=f"^row 4: {message}"):
        joint().given({name: values})
    with pytest.raises(DataError, match=f"^{message}"):
        joint().given({name: wrong})


@pytest.mark.parametrize("shape", [(39,), (40, 1), (1,)])
def test_values_are_one_number_or_one_for_each_row(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="given for 40 rows"):
        joint().given(a=np.ones(shape))
