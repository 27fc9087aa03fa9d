"""The answers of a distribution: shapes, units, order of components, and extreme numbers."""

import numpy as np
import pytest
import torch
from density.mixtures import (
    MOST_COMPONENTS,
    Truth,
    affine,
    distribution,
    extreme,
    ordinary,
    reordered,
    row,
    thorough,
    univariate,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mdncli.density.distribution import Distribution

pytestmark = pytest.mark.filterwarnings("error")

LEVELS = [0.05, 0.5, 0.95]


def answers(given: Distribution, values) -> dict[str, np.ndarray]:
    """Return the answer of every method, by a name."""
    return {
        "log_prob": given.log_prob(values),
        "marginal log_prob": given.log_prob(values, marginal=True),
        "cdf": given.cdf(values),
        "upper log cdf": given.cdf(values, upper=True, log=True),
        "crps": given.crps(values),
        "mean": given.mean(),
        "variance": given.variance(),
        "std": given.std(),
        "component_mean": given.component_mean(),
        "mode": given.mode(),
        "median": given.median(),
        "quantile": given.quantile(LEVELS),
        "interval": given.interval(0.8),
        "hdr": given.hdr(0.8),
        "sample": given.sample(5),
    }


@pytest.mark.parametrize("rows", [0, 1, 4])
@pytest.mark.parametrize("targets", [1, 2])
def test_shapes(rows, targets):
    """The axis of targets comes after that of rows; a single target has none."""
    one = targets == 1
    given = ordinary(rows, 3, targets)
    each = (rows,) if one else (rows, targets)
    found = {name: answer.shape for name, answer in answers(given, np.zeros(each)).items()}
    regions = found.pop("hdr")
    assert regions[:-2] == each
    assert regions[-1] == 2
    assert found == {
        "log_prob": (rows,),
        **dict.fromkeys(["marginal log_prob", "cdf", "upper log cdf", "crps"], each),
        **dict.fromkeys(["mean", "variance", "std", "component_mean", "mode", "median"], each),
        "quantile": (*each, 3),
        "interval": (*each, 2),
        "sample": (*each, 5),
    }
    assert given.quantile(0.3).shape == each
    assert given.quantile([]).shape == (*each, 0)
    assert given.mu.shape == given.sigma.shape == ((rows, 3) if one else (rows, 3, targets))
    assert len(given) == rows


def test_targets_are_those_of_the_marginals():
    both = ordinary(20, 3, 2)
    values = np.random.default_rng(0).normal(size=(20, 2))
    together = answers(both, values)
    log_pi, mu, sigma = both.mixture.arrays()
    for target in range(2):
        alone = answers(
            distribution(log_pi, mu[:, :, target], sigma[:, :, target]), values[:, target]
        )
        for name in set(together) - {"log_prob", "mode", "component_mean", "sample"}:
            found = together[name][:, target]
            if name == "hdr":
                found = found[:, : alone[name].shape[1]]
            np.testing.assert_allclose(found, alone[name], rtol=1e-12, atol=1e-12, err_msg=name)
        lengths = (~np.isnan(together["hdr"][:, target, :, 0])).sum(axis=1)
        np.testing.assert_array_equal(lengths, (~np.isnan(alone["hdr"][:, :, 0])).sum(axis=1))


def test_values_are_one_for_all_or_one_for_each():
    one, two = ordinary(4, 3), ordinary(4, 3, 2)
    for ask in (one.log_prob, one.cdf, one.crps):
        np.testing.assert_array_equal(ask(0.5), ask(np.full(4, 0.5)))
        np.testing.assert_array_equal(ask(0.5), ask(np.full((4, 1), 0.5)))
    for ask in (two.log_prob, two.cdf, two.crps):
        np.testing.assert_array_equal(ask([0.5, 2.0]), ask(np.tile([0.5, 2.0], (4, 1))))
    for it, shape in ((one, (3,)), (one, (4, 2)), (two, (4,)), (two, (3, 2)), (two, (1, 4, 2))):
        with pytest.raises(ValueError, match=r"shape|broadcast"):
            it.cdf(np.zeros(shape))


PIECES = {
    # There are more rows than a piece of a search has, or a piece of a sum.
    "searches": (lambda it: [it.quantile(LEVELS), it.mode(), it.hdr(0.8)], 1, 4200, 4096),
    "sums": (
        lambda it: [it.log_prob(0.3), it.cdf(0.3), it.mean(), it.std(), it.crps(0.3)],
        1,
        8300,
        8192,
    ),
    "joint modes": (lambda it: [it.mode(), it.quantile(LEVELS)], 2, 300, 256),
}


@pytest.mark.parametrize("kind", PIECES)
def test_a_row_in_a_long_table_has_the_answers_it_has_alone(kind):
    ask, targets, rows, piece = PIECES[kind]
    many = ordinary(rows, MOST_COMPONENTS, targets, seed=3)
    together = ask(many)
    for at in (0, 1, piece - 1, piece, rows - 1):
        for whole, alone in zip(together, ask(row(many, at)), strict=True):
            found = whole[at][: len(alone[0])] if np.ndim(alone[0]) else whole[at]
            np.testing.assert_allclose(found, alone[0], rtol=1e-11, atol=1e-11)


def test_a_row_does_not_depend_on_those_that_take_longer():
    """A quantile in a gap, where the cdf is constant, is the same beside any other rows."""
    gap = distribution([[0.0, 0.0]], [[-1.0, 1.0]], [[1e-3, 1e-3]])
    others = ordinary(50, 2)
    parts = zip(gap.mixture.arrays(), others.mixture.arrays(), strict=True)
    both = distribution(*(np.concatenate(pair) for pair in parts))
    for p in (0.5 - 1e-14, 0.5, 0.5 + 1e-14):
        assert both.quantile(p)[0] == pytest.approx(gap.quantile(p)[0], rel=1e-12)


@given(extreme(), st.sampled_from([0.01, 0.5, 0.9, 0.999]))
@thorough(60)
def test_with_extreme_numbers_every_search_ends_in_finite_numbers(given, coverage):
    regions = given.hdr(coverage)
    assert np.isfinite(regions[:, 0]).all()
    steps = np.diff(regions.reshape(len(given), -1), axis=1)
    assert ((steps >= 0.0) | np.isnan(steps)).all()
    quantiles = given.quantile([1e-10, *LEVELS, 1.0 - 1e-10])
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles) >= 0.0).all()
    # No mean has a higher density, even where a sigma is far below the distance of floats.
    heights = given.log_prob(given.mode())
    used = np.where(given.pi > 0.0, given.mu, given.component_mean()[:, None])
    for mean in used.T:
        assert (heights >= given.log_prob(mean) - 1e-12 * np.abs(heights)).all()


@given(st.one_of(extreme(), extreme(targets=2)), st.sampled_from([0.0, 1e-12, 1e12, -1e12]))
@thorough(60)
def test_with_extreme_numbers_every_closed_form_is_finite(given, value):
    targets = given.mixture.mu.shape[2]
    for values in (np.full(targets, value), given.component_mean()):
        logs = [given.cdf(values, upper=upper, log=True) for upper in (False, True)]
        tails = [given.cdf(values, upper=upper) for upper in (False, True)]
        others = [
            given.log_prob(values),
            given.log_prob(values, marginal=True),
            given.crps(values),
        ]
        assert all(np.isfinite(answer).all() for answer in (*logs, *tails, *others))
        assert all((log <= 0.0).all() for log in logs)
        np.testing.assert_allclose(sum(tails), 1.0, rtol=1e-14)
    for answer in (given.mean(), given.sample(3)):
        assert np.isfinite(answer).all()
    assert (np.isfinite(given.std()) & (given.std() > 0.0)).all()


@given(extreme(targets=2))
@thorough(25)
def test_with_extreme_numbers_the_joint_mode_is_finite(given):
    heights = given.log_prob(given.mode())
    assert np.isfinite(given.mode()).all()
    assert (heights >= given.log_prob(given.component_mean()) - 1e-9 * np.abs(heights)).all()


@given(univariate(), st.floats(-12.0, 12.0), st.randoms(use_true_random=False))
@thorough(100)
def test_density_and_cdf_are_those_in_extended_precision(one, z, random):
    truth = Truth(one)
    at = random.randrange(one.mu.shape[1])
    y = one.mu[:, at] + z * one.sigma[:, at]
    log_density = truth.log_density(y)
    # The second term allows for the digits of z^2 / 2 that a float64 lacks.
    assert abs(one.log_prob(y) - log_density)[0] <= 1e-12 + 1e-14 * abs(log_density)[0]
    for upper, tail in enumerate(truth.tails(y)):
        found = one.cdf(y, upper=bool(upper))
        np.testing.assert_allclose(found, tail.astype(float), rtol=1e-11, atol=1e-300)
        np.testing.assert_allclose(
            np.exp(one.cdf(y, upper=bool(upper), log=True)), found, rtol=1e-11, atol=1e-300
        )


@given(univariate(), st.floats(-12.0, 12.0), st.randoms(use_true_random=False))
@thorough(100)
def test_density_cdf_and_mean_agree_with_torch(one, z, random):
    log_pi, mu, sigma = (torch.tensor(part) for part in one.mixture.arrays())
    theirs = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=log_pi),
        torch.distributions.Normal(mu[:, :, 0], sigma[:, :, 0]),
    )
    at = random.randrange(one.mu.shape[1])
    y = one.mu[:, at] + z * one.sigma[:, at]
    there = torch.tensor(y)
    np.testing.assert_allclose(
        one.log_prob(y), theirs.log_prob(there).numpy(), rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(one.cdf(y), theirs.cdf(there).numpy(), rtol=1e-6, atol=1e-14)
    scale = 1e-6 * np.abs(one.mu).max()
    np.testing.assert_allclose(one.mean(), theirs.mean.numpy(), rtol=1e-6, atol=scale)


def test_far_out_the_upper_tail_does_not_cancel():
    one = distribution([[0.0, -1.0]], [[0.0, 1.0]], [[1.0, 1.0]])
    truth = Truth(one).tails([20.0, 30.0, 37.0])[1].astype(float)
    for z, tail in zip((20.0, 30.0, 37.0), truth, strict=True):
        assert tail > 0.0
        np.testing.assert_allclose(one.cdf(z, upper=True), tail, rtol=1e-12)
        np.testing.assert_allclose(affine(one, -1.0, 0.0).cdf(-z), tail, rtol=1e-12)
    single = distribution([[0.0]], [[0.0]], [[1.0]])
    for z in (40.0, 1e6):
        log = single.cdf(z, upper=True, log=True)
        np.testing.assert_allclose(log, stats.norm.logsf(z), rtol=1e-13)
        np.testing.assert_allclose(single.cdf(-z, log=True), log, rtol=1e-13)


@pytest.mark.parametrize(("a", "b"), [(40.0, 1e3), (1e-3, -7.0), (-2.5, 0.3)])
@pytest.mark.parametrize("targets", [1, 2])
def test_units_of_y_are_those_of_the_answers(a, b, targets):
    """The answers for a y + b are a times those for y, plus b."""
    plain = ordinary(40, 4, targets)
    moved = affine(plain, a, b)
    values = np.random.default_rng(0).normal(size=(40, targets))
    values = values[:, 0] if targets == 1 else values
    here, there = answers(plain, values), answers(moved, a * values + b)
    close = {"rtol": 1e-9, "atol": 1e-9 * abs(a) * here["std"].max()}
    for name in ("mean", "component_mean", "median"):
        np.testing.assert_allclose(there[name], a * here[name] + b, **close, err_msg=name)
    for name in ("std", "crps"):
        np.testing.assert_allclose(there[name], abs(a) * here[name], **close, err_msg=name)
    shift = -np.log(abs(a))
    np.testing.assert_allclose(there["log_prob"], here["log_prob"] + targets * shift, rtol=1e-9)
    order = slice(None, None, 1 if a > 0 else -1)
    for name in ("quantile", "interval"):
        expected = a * here[name][..., order] + b
        np.testing.assert_allclose(there[name], expected, **close, err_msg=name)
    cdf = here["cdf"] if a > 0 else 1.0 - here["cdf"]
    np.testing.assert_allclose(there["cdf"], cdf, rtol=1e-9, atol=1e-12)
    if targets == 1:
        np.testing.assert_allclose(there["mode"], a * here["mode"] + b, **close)
    for region, expected in zip(
        _ends_of_regions(there["hdr"]), _ends_of_regions(here["hdr"]), strict=True
    ):
        np.testing.assert_allclose(region, np.sort(a * expected + b), **close)


def _ends_of_regions(regions) -> list[np.ndarray]:
    """Return the ends of each region's intervals, without NaN."""
    flat = regions.reshape(-1, 2 * regions.shape[-2])
    return [ends[~np.isnan(ends)] for ends in flat]


@pytest.mark.parametrize("targets", [1, 2])
def test_the_order_of_components_does_not_matter(targets):
    plain = ordinary(40, 5, targets)
    other = reordered(plain, [3, 0, 4, 2, 1])
    here, there = answers(plain, np.zeros(targets)), answers(other, np.zeros(targets))
    for name in set(here) - {"sample"}:
        np.testing.assert_allclose(there[name], here[name], rtol=1e-8, atol=1e-8, err_msg=name)


@given(univariate(), st.randoms(use_true_random=False))
@thorough(60)
def test_the_order_of_components_does_not_matter_to_closed_forms(one, random):
    order = list(range(one.mu.shape[1]))
    random.shuffle(order)
    other = reordered(one, order)
    y = one.mu[:, 0] + one.sigma[:, 0]
    scale = 1e-12 * (np.abs(one.mu).max() + one.std().max())
    np.testing.assert_allclose(other.log_prob(y), one.log_prob(y), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(other.cdf(y), one.cdf(y), rtol=1e-12)
    for ask in (Distribution.mean, Distribution.std, lambda it: it.crps(y)):
        np.testing.assert_allclose(ask(other), ask(one), rtol=1e-12, atol=scale)


@pytest.mark.parametrize("targets", [1, 2])
def test_moments_of_samples_meet_the_closed_forms(targets):
    given, draws = ordinary(6, 4, targets, seed=5), 40_000
    drawn = given.sample(draws, seed=1)
    error = given.std() / np.sqrt(draws)
    assert (np.abs(drawn.mean(axis=-1) - given.mean()) < 5.0 * error).all()
    np.testing.assert_allclose(drawn.std(axis=-1), given.std(), rtol=0.05)
    share = (drawn[..., None] <= given.quantile(LEVELS)[..., None, :]).mean(axis=-2)
    np.testing.assert_allclose(share, np.broadcast_to(LEVELS, share.shape), atol=0.0125)
    np.testing.assert_array_equal(drawn, given.sample(draws, seed=1))
    assert (drawn != given.sample(draws, seed=2)).all()


@given(univariate())
@thorough(60)
def test_mean_and_variance_are_sums_over_components(one):
    truth = Truth(one)
    mean = (truth.pi * truth.mu).sum()
    variance = (truth.pi * (truth.sigma**2 + (truth.mu - mean) ** 2)).sum()
    size = float(np.abs(truth.mu).max())
    assert abs(one.mean()[0] - mean) <= 1e-14 * size
    assert float(abs(one.variance()[0] / variance - 1.0)) <= 1e-12 + 1e-13 * size / float(
        np.sqrt(variance)
    )
