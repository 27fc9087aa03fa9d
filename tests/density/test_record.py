"""The report on the components of a member."""

import numpy as np
import pytest

from mdncli.density.mixture import GaussianMixture
from mdncli.density.model import report

ROWS = 200
MIN_SIGMA = np.array([0.1])


def mixture(pi: list[float], mu: list[float], sigma: list[float]) -> GaussianMixture:
    shape = (ROWS, len(pi), 1)
    return GaussianMixture(
        np.broadcast_to(np.log(pi), shape[:2]),
        np.broadcast_to(np.array(mu)[:, None], shape),
        np.broadcast_to(np.array(sigma)[:, None], shape),
    )


def test_weights_leading_components_and_the_effective_number() -> None:
    found = report(mixture([0.5, 0.25, 0.25], [0.0, 3.0, 6.0], [1.0, 1.0, 1.0]), MIN_SIGMA)
    assert found.weight == pytest.approx([0.5, 0.25, 0.25])
    assert found.leads == [1.0, 0.0, 0.0]
    assert found.effective == pytest.approx(2.0 * np.sqrt(2.0))
    assert found.duplicates == 0
    assert found.weight_at_floor == 0.0


def test_equal_weights_make_every_component_count() -> None:
    assert report(
        mixture([0.25] * 4, [0, 1, 2, 3], [1.0] * 4), MIN_SIGMA
    ).effective == pytest.approx(4)


def test_duplicates_have_similar_means_and_sigmas() -> None:
    similar = report(mixture([0.4, 0.3, 0.3], [0.0, 0.05, 0.05], [1.0, 1.05, 3.0]), MIN_SIGMA)
    assert similar.duplicates == 1
    unused = report(mixture([0.9999, 0.0001], [0.0, 0.0], [1.0, 1.0]), MIN_SIGMA)
    assert unused.duplicates == 0


def test_the_share_at_the_minimum_sigma() -> None:
    found = report(mixture([0.7, 0.3], [0.0, 1.0], [0.101, 0.5]), MIN_SIGMA)
    assert found.at_floor == [1.0, 0.0]
    assert found.weight_at_floor == pytest.approx(0.7)


def test_a_target_is_at_the_minimum_by_its_sigma_given_the_targets_before_it() -> None:
    """Two targets are so strongly correlated that little of the second remains."""
    rho = 0.99
    factor = np.array([[1.0, 0.0], [rho, np.sqrt(1.0 - rho**2)]])
    one = GaussianMixture(
        np.zeros((ROWS, 1)),
        np.zeros((ROWS, 1, 2)),
        np.ones((ROWS, 1, 2)),
        np.broadcast_to(factor, (ROWS, 1, 2, 2)),
    )
    remaining = factor[1, 1]
    assert report(one, np.array([0.5, remaining])).at_floor == [1.0]
    assert report(one, np.array([0.5, 0.9 * remaining])).at_floor == [0.0]
