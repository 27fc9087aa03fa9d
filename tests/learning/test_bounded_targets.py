"""Learning a target with bounds is learning its map, and its NLLs are in the units of the file."""

import numpy as np
import pytest

from mdncli.columns.kinds import Roles
from mdncli.columns.schema import learnable
from mdncli.columns.transforms import Bounds
from mdncli.density.model import ConditionalDensity
from mdncli.learning.fit import learned
from mdncli.learning.splits import Examples
from mdncli.settings import Settings

X = np.random.default_rng(0).normal(size=(300, 2))
U = (X[:, :1] + 0.7) ** 2 + np.random.default_rng(1).normal(size=(300, 1))
ROLES = Roles(["a", "b"], ["y"])


def fitted(y: np.ndarray, bounds: dict[str, Bounds], members: int) -> ConditionalDensity:
    schema, _ = learnable("data", X, y, ROLES, bounds=bounds)
    settings = Settings(mixtures=2, members=members, epochs=6, baseline=True)
    return learned(Examples(X, y), schema, settings)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize(
    "bounds", [Bounds(-1.0, None), Bounds(None, 2.0), Bounds(0.0, 3.0)], ids=str
)
def test_it_is_the_fit_of_the_mapped_target_in_other_units(bounds: Bounds, members: int) -> None:
    y = bounds.to_target(U)
    mapped = fitted(bounds.to_mixture(y), {}, members)
    own = fitted(y, {"y": bounds}, members)
    for one, other in zip(own.networks[0].layers, mapped.networks[0].layers, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    slope = bounds.log_slope(y[:, 0])
    np.testing.assert_allclose(own.nll(X, y), mapped.nll(X, bounds.to_mixture(y)) - slope)
    here, there = own.record, mapped.record
    valid = here.nll_valid - there.nll_valid
    train = here.nll_train - there.nll_train
    rows, held, on_average = here.rows, here.rows_valid, train
    if members > 1:
        # Every row is learned from by some member, and by all but one where that holds it out.
        assert train == pytest.approx(-slope.mean())
        on_average = (members * rows * train - held * valid) / (members * rows - held)
    else:
        assert ((rows - held) * train + held * valid) / rows == pytest.approx(-slope.mean())
        assert own.baseline is not None
        assert mapped.baseline is not None
        assert own.baseline.nll - mapped.baseline.nll == pytest.approx(valid)
    for name, change in (("nll_train", on_average), ("nll_valid", valid)):
        before, after = (np.array(each.history[name]) for each in (there, here))
        np.testing.assert_allclose(after - before, change, rtol=1e-6, atol=1e-9)
        if members == 1:
            assert here.reference[name] - there.reference[name] == pytest.approx(change)
