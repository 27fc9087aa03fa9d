import numpy as np
import pytest

from mdncli.density.mixture import GaussianMixture
from mdncli.density.record import report

ROWS = 200
FLOOR = np.array([0.1])


def mixture(pi: list[float], mu: list[float], sigma: list[float]) -> GaussianMixture:
    shape = (ROWS, len(pi), 1)
    return GaussianMixture(
        np.broadcast_to(np.log(pi), shape[:2]),
        np.broadcast_to(np.array(mu)[:, None], shape),
        np.broadcast_to(np.array(sigma)[:, None], shape),
    )


def test_weights_leaders_and_the_effective_number() -> None:
    answer = report(mixture([0.5, 0.25, 0.25], [0.0, 3.0, 6.0], [1.0, 1.0, 1.0]), FLOOR)
    assert answer.weight == pytest.approx([0.5, 0.25, 0.25])
    assert answer.leads == [1.0, 0.0, 0.0]
    assert answer.effective == pytest.approx(2.0 * np.sqrt(2.0))
    assert answer.duplicates == 0
    assert answer.weight_at_floor == 0.0


def test_equal_weights_make_every_component_count() -> None:
    assert report(mixture([0.25] * 4, [0, 1, 2, 3], [1.0] * 4), FLOOR).effective == pytest.approx(4)


def test_duplicates_are_those_alike_in_place_and_width() -> None:
    alike = report(mixture([0.4, 0.3, 0.3], [0.0, 0.05, 0.05], [1.0, 1.05, 3.0]), FLOOR)
    assert alike.duplicates == 1
    unused = report(mixture([0.9999, 0.0001], [0.0, 0.0], [1.0, 1.0]), FLOOR)
    assert unused.duplicates == 0


def test_the_share_at_the_floor() -> None:
    answer = report(mixture([0.7, 0.3], [0.0, 1.0], [0.101, 0.5]), FLOOR)
    assert answer.at_floor == [1.0, 0.0]
    assert answer.weight_at_floor == pytest.approx(0.7)
