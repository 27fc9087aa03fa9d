"""A fit to a target with bounds is a fit to its transform, with NLLs in the units of the file."""

import numpy as np
import pytest
from fits import fitted, schema_of

from mdncli.columns.dataset import Dataset
from mdncli.columns.transforms import IDENTITY, Transform, transform_between
from mdncli.density.model import MixtureDensityNetwork
from mdncli.settings import Settings

X = np.random.default_rng(0).normal(size=(300, 2))
U = (X[:, :1] + 0.7) ** 2 + np.random.default_rng(1).normal(size=(300, 1))


def fitted_with(transform: Transform, y: np.ndarray, members: int) -> MixtureDensityNetwork:
    settings = Settings(mixtures=2, members=members, epochs=6, baseline=True)
    return fitted(Dataset(X, y), settings, schema_of(X, y, {"y0": transform}))[0]


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("bounds", [(-1.0, None), (None, 2.0), (0.0, 3.0)], ids=str)
def test_it_is_the_fit_of_u_in_other_units(
    bounds: tuple[float | None, float | None], members: int
) -> None:
    transform = transform_between(*bounds)
    y = transform.forward(U)
    u = transform.inverse(y)
    of_u = fitted_with(IDENTITY, u, members)
    of_y = fitted_with(transform, y, members)
    for one, other in zip(*(fit.main.networks[0].layers for fit in (of_y, of_u)), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    log_jacobian = transform.log_abs_det_jacobian(u[:, 0], y[:, 0])
    np.testing.assert_allclose(of_y.nll(X, y), of_u.nll(X, u) + log_jacobian)
    here, there = of_y.record, of_u.record
    valid = here.nll_valid - there.nll_valid
    train = here.nll_train - there.nll_train
    rows, held, on_average = here.rows, here.rows_valid, train
    if members > 1:
        # At least one member learns from each row; all but one learn from a held-out row.
        assert train == pytest.approx(log_jacobian.mean())
        on_average = (members * rows * train - held * valid) / (members * rows - held)
    else:
        mean = ((rows - held) * train + held * valid) / rows
        assert mean == pytest.approx(log_jacobian.mean())
        assert of_y.baseline is not None
        assert of_u.baseline is not None
        assert of_y.baseline.nll - of_u.baseline.nll == pytest.approx(valid)
    for name, change in (("nll_train", on_average), ("nll_valid", valid)):
        before, after = (np.array(each.history[name]) for each in (there, here))
        np.testing.assert_allclose(after - before, change, rtol=1e-6, atol=1e-9)
        if members == 1:
            assert here.reference[name] - there.reference[name] == pytest.approx(change)
