"""The questions of a prediction: which are refused, and the columns of the answers."""

import numpy as np
import pytest
from density.correlated import correlated, covariances
from density.models import bounded_targets, inverse_sinusoid, two_targets

from mdncli.columns.transforms import IDENTITY
from mdncli.density.answers import Questions, percent
from mdncli.density.distribution import Distribution
from mdncli.density.mixture import GaussianMixture
from mdncli.errors import MdnWarning, ParameterError


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ({"quantiles": [0.5, 1.0]}, "quantiles is 1: it must be between 0 and 1"),
        ({"interval": 0.0}, "interval is 0: it must be between 0 and 1"),
        ({"hdr": float("nan")}, "hdr is nan"),
        (
            {"at_target": {"u": 1.0}},
            "at_target sets where density, probability and cdf are computed",
        ),
        ({"marginal": True}, "marginal applies to density"),
        (
            {"log": True, "mean": True},
            "log applies to density, probability, cdf, exceed and survival",
        ),
    ],
)
def test_questions_that_make_no_sense_are_refused(questions: dict, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Questions(**questions)


def test_one_probability_is_a_list_of_one() -> None:
    model, x, y = inverse_sinusoid()
    predicted = model.distribution(x[:3])
    one, _ = Questions(quantiles=0.25, interval=0.9, hdr=0.5).answer(predicted, y[:3])
    many, _ = Questions(quantiles=[0.25], interval=(0.9,), hdr=[0.5]).answer(predicted, y[:3])
    assert list(one) == list(many)
    assert list(one)[:3] == ["y_q25", "y_lo90", "y_hi90"]
    for name, values in one.items():
        np.testing.assert_array_equal(values, many[name])


def test_the_columns_are_the_answers_of_the_distribution() -> None:
    model, x, y = two_targets()
    predicted = model.distribution(x[:4])
    questions = Questions(
        mean=True, std=True, correlation=True, density=True, cdf=True, exceed={"v": 0.5}, log=True
    )
    found, joined = questions.answer(predicted, y[:4])
    assert joined == 0
    assert list(found) == [
        *("u_mean", "v_mean", "u_std", "v_std", "u_v_correlation"),
        *("log_density", "u_log_cdf", "v_log_cdf", "v_log_exceed"),
    ]
    np.testing.assert_array_equal(found["v_mean"], predicted.mean()[:, 1])
    np.testing.assert_array_equal(found["log_density"], predicted.log_prob(y[:4]))
    exceed = predicted.cdf([0.0, 0.5], upper=True, log=True)[:, 1]
    np.testing.assert_array_equal(found["v_log_exceed"], exceed)


def test_the_parameters_reproduce_the_density() -> None:
    model, x, y = inverse_sinusoid()
    found, _ = Questions(parameters=True, density=True).answer(model.distribution(x[:5]), y[:5])
    total = np.zeros(5)
    assert f"pi{model.components}" not in found
    for k in range(model.components):
        z = (y[:5, 0] - found[f"y_mu{k}"]) / found[f"y_sigma{k}"]
        total += found[f"pi{k}"] * np.exp(-0.5 * z**2) / found[f"y_sigma{k}"] / np.sqrt(2.0 * np.pi)
    np.testing.assert_allclose(found["y_density"], total)


def test_the_parameters_of_correlated_targets_hold_their_correlations() -> None:
    mixture = correlated(3, 2, 3)
    found, _ = Questions(parameters=True).answer(Distribution(mixture), np.full((3, 3), np.nan))
    covariance = covariances(mixture)
    deviation = np.sqrt(np.diagonal(covariance, axis1=2, axis2=3))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        for k in range(2):
            expected = covariance[:, k, one, other] / deviation[:, k, one] / deviation[:, k, other]
            name = f"y{one + 1}_y{other + 1}_correlation{k + 1}"
            np.testing.assert_allclose(found[name], expected)


def test_the_logarithm_of_zero_is_blank() -> None:
    model, x, _ = bounded_targets()
    questions = Questions(density=True, marginal=True, log=True, at_target={"p": -1.0, "r": 0.0})
    found, _ = questions.answer(model.distribution(x[:3]), np.full((3, 3), np.nan))
    assert list(found) == ["p_log_density", "r_log_density"]
    assert np.isnan(found["p_log_density"]).all()
    assert np.isfinite(found["r_log_density"]).all()


def test_a_density_that_is_too_large_for_a_number_is_blank() -> None:
    # Six targets, each known to within 1e-60.
    names = [*"abcdef"]
    mu, sigma = np.zeros((2, 1, 6)), np.full((2, 1, 6), 1e-60)
    mixture = GaussianMixture(np.zeros((2, 1)), mu, sigma)
    predicted = Distribution(mixture, [IDENTITY] * 6, names)
    y = np.vstack([np.zeros(6), np.full(6, 2e-59)])
    with pytest.warns(MdnWarning, match=r"In 1 row the density is too large .* log=True"):
        found, _ = Questions(density=True).answer(predicted, y)
    assert np.isnan(found["density"]).tolist() == [True, False]
    found, _ = Questions(density=True, log=True).answer(predicted, y)
    peak = 6.0 * (60.0 * np.log(10.0) - 0.5 * np.log(2.0 * np.pi))
    np.testing.assert_allclose(found["log_density"], [peak, peak - 1200.0])


def test_the_targets_needed_in_every_row() -> None:
    names = ["u", "v"]
    assert Questions(mean=True).needed_targets(names) == []
    assert Questions(density=True).needed_targets(names) == names
    assert Questions(cdf=True, at_target={"u": 1.0}).needed_targets(names) == []
    with pytest.raises(ParameterError, match=r"at_target lacks 'v'.*Add it, or marginal"):
        Questions(density=True, at_target={"u": 1.0}).needed_targets(names)


def test_correlation_needs_two_targets() -> None:
    model, x, y = inverse_sinusoid()
    with pytest.raises(ParameterError, match="correlation needs two targets or more"):
        Questions(correlation=True).answer(model.distribution(x[:2]), y[:2])


def test_two_answers_with_one_name_are_refused() -> None:
    model, x, y = inverse_sinusoid()
    with pytest.raises(ParameterError, match="Two answers have the name 'y_q50'"):
        Questions(quantiles=[0.5, 0.5]).answer(model.distribution(x[:2]), y[:2])


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.05, "05"),
        (0.5, "50"),
        (0.975, "97.5"),
        (0.001, "00.1"),
        (0.9, "90"),
        (1e-9, "00.0000001"),
    ],
)
def test_probabilities_in_names_are_in_percent(probability: float, text: str) -> None:
    assert percent(probability) == text
