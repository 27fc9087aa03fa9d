"""Pieces of long tables: every row once, errors passed on, and nothing changed in the process."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from density.models import inverse_sinusoid
from threadpoolctl import threadpool_info, threadpool_limits

from mdncli.density.mixture import generator_of_draws
from mdncli.density.model import MixtureDensityNetwork
from mdncli.density.numerics import (
    Buffers,
    added_up,
    find_roots,
    for_each_piece,
    in_pieces,
)
from mdncli.tables.blocks import prefetched

X = np.linspace(-5.0, 5.0, 20_000)[:, None]


@pytest.fixture(scope="module")
def model() -> MixtureDensityNetwork:
    return inverse_sinusoid()[0]


def blas_threads() -> list[int]:
    """Return the number of threads of each BLAS library in this process."""
    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 100])
def test_the_pieces_contain_every_row_once(rows: int) -> None:
    counts = np.zeros(rows, dtype=int)

    def count(piece: slice) -> None:
        counts[piece] += 1

    for_each_piece(count, rows, 7)
    np.testing.assert_array_equal(counts, 1)


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 100])
def test_the_results_of_pieces_are_in_order(rows: int) -> None:
    values = np.arange(float(rows))[:, None]
    np.testing.assert_array_equal(in_pieces(lambda piece: 2.0 * values[piece], rows, 7), 2 * values)


def test_pieces_of_a_piece_stay_in_its_thread() -> None:
    def check(piece: slice) -> None:
        outer = threading.get_ident()
        inner: list[int] = []
        for_each_piece(lambda _: inner.append(threading.get_ident()), 10, 1)
        assert set(inner) == {outer}

    for_each_piece(check, 4, 1)


def test_a_thread_reuses_its_memory_for_smaller_arrays_and_has_its_own() -> None:
    buffers = Buffers()
    large = buffers.take("one", (3, 5))
    assert np.shares_memory(large, buffers.take("one", (2, 2)))
    assert not np.shares_memory(large, buffers.take("other", (3, 5)))
    assert buffers.take("one", (4, 5)).shape == (4, 5)
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(buffers.take, "one", (3, 5)).result()
    assert not np.shares_memory(buffers.take("one", (3, 5)), elsewhere)


def test_a_root_search_that_makes_progress_is_not_thrown_back() -> None:
    class Slow:
        """x - 1 with steps that leave a third of the distance."""

        evaluations = 0

        def evaluate(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            self.evaluations += 1
            return at - 1.0, -(at - 1.0) * 2.0 / 3.0, np.abs(at - 1.0) <= 1e-12

        def keep(self, chosen: np.ndarray) -> None:
            assert chosen.any()

    problem = Slow()
    found = find_roots(problem, np.array([-1e9]), np.array([1e9]), np.array([0.0]))
    assert abs(found[0] - 1.0) <= 1e-12
    assert problem.evaluations == 27


def test_an_error_in_a_piece_is_raised() -> None:
    def fail(piece: slice) -> None:
        if piece.start == 3:
            raise ValueError("the third piece")

    with pytest.raises(ValueError, match="the third piece"):
        for_each_piece(fail, 5, 1)


def test_prefetched_items_are_the_items_in_order() -> None:
    assert list(prefetched(iter(range(5)))) == [0, 1, 2, 3, 4]

    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    items = prefetched(failing())
    assert next(items) == 1
    with pytest.raises(ValueError, match="no more"):
        next(items)


@pytest.mark.parametrize("limit", [1, 2])
def test_two_predictions_at_once_leave_a_users_blas_setting(
    model: MixtureDensityNetwork, limit: int
) -> None:
    expected = model.distribution(X).quantile([0.1, 0.9])
    # A library may support fewer threads than asked for.
    with threadpool_limits(limits=limit, user_api="blas"):
        before = blas_threads()
        during: list[list[int]] = []

        def predict(_: int) -> np.ndarray:
            found = model.distribution(X).quantile([0.1, 0.9])
            during.append(blas_threads())
            return found

        with ThreadPoolExecutor(2) as pool:
            for found in pool.map(predict, range(4)):
                np.testing.assert_array_equal(found, expected)
        assert during == [before] * 4
        assert blas_threads() == before
        assert max(before) == limit or max(before) == 1


@pytest.mark.parametrize("limit", [1, 2])
def test_two_generators_in_turn_leave_a_users_blas_setting(
    model: MixtureDensityNetwork, limit: int
) -> None:
    with threadpool_limits(limits=limit, user_api="blas"):
        before = blas_threads()
        one, two = (model.draws(X, 20, generator_of_draws(seed)) for seed in (0, 1))
        pairs = 0
        for _, _ in zip(prefetched(one), prefetched(two), strict=True):
            assert blas_threads() == before
            pairs += 1
        assert pairs > 3
        # The second of two unfinished generators ends after the first.
        first, second = (model.draws(X, 20, generator_of_draws(seed)) for seed in (0, 1))
        next(first)
        next(second)
        first.close()
        second.close()
        assert blas_threads() == before


@pytest.mark.parametrize("order", ["C", "F"])
def test_sums_over_components_do_not_depend_on_the_rows_beside_or_on_memory(order: Any) -> None:
    terms = np.random.default_rng(0).normal(size=(40, 100)) ** 3
    whole = added_up(terms)
    for rows in (1, 2, 3, 50):
        part = np.array(terms[:, :rows], order=order)
        np.testing.assert_array_equal(added_up(part), whole[:rows])


def test_no_piece_has_a_single_row_unless_there_is_only_one() -> None:
    for rows in range(1, 40):
        for at_once in (2, 3, 7):
            pieces: list[slice] = []
            for_each_piece(pieces.append, rows, at_once)
            pieces.sort(key=lambda piece: piece.start)
            covered = [row for piece in pieces for row in range(piece.start, piece.stop)]
            assert covered == list(range(rows))
            lengths = {piece.stop - piece.start for piece in pieces}
            assert max(lengths) <= at_once + 1
            assert 1 not in lengths or rows == 1
            values = in_pieces(lambda piece: np.arange(piece.start, piece.stop), rows, at_once)
            np.testing.assert_array_equal(values, np.arange(rows))
