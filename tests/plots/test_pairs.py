from pathlib import Path

import numpy as np
import pytest
from pictures import opened, saved, texts

from mdncli.errors import DataError
from mdncli.plots import kinds


def test_rows_and_their_own_values_are_shown(wide: Path) -> None:
    density, x, y = opened(wide)
    figure = kinds.draw("pairs", density, x, y)
    words = texts(figure)
    for word in ("u, v: joint densities", "the first 4 of 400 rows", "row 4: a=", "95%"):
        assert word in words
    assert "the row's values" in words
    unknown = kinds.draw("pairs", density, x, np.full_like(y, np.nan))
    assert "the row's values" not in texts(unknown)


def test_the_same_rows_draw_the_same_bytes(wide: Path) -> None:
    density, x, y = opened(wide)
    one, two = (saved(kinds.draw("pairs", density, x, y)) for _ in range(2))
    assert one == two
    assert one != saved(kinds.draw("pairs", density, x[1:], y[1:]))


def test_without_rows_it_is_the_medians(wide: Path) -> None:
    density, x, y = opened(wide)
    words = texts(kinds.draw("pairs", density, x[:0], y[:0]))
    assert "at the medians: a=" in words
    assert "row 1" not in words


def test_the_regions_hold_their_probability(wide: Path) -> None:
    """Counted over fresh draws that fall inside the outlines drawn."""
    density, x, y = opened(wide)
    figure = kinds.draw("pairs", density, x[:1], y[:1])
    [panel] = [axes for axes in figure.axes if axes.get_ylabel()]
    outline = panel.collections[1].get_paths()[0]
    drawn, _ = density.mixture(x[:1]).sample(20_000, np.random.default_rng(5))
    assert outline.contains_points(drawn[0]).mean() == pytest.approx(0.95, abs=0.01)


def test_one_target_has_no_pairs(fitted: Path) -> None:
    density, x, y = opened(fitted)
    with pytest.raises(DataError, match="two targets or more"):
        kinds.draw("pairs", density, x, y)
