"""Tables that are spread over processes: answered as the command line answers them, to the bit."""

import doctest
import logging
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster

import mdncli
from mdncli import distributed
from mdncli.errors import DataError, MdnWarning, ParameterError
from running import mdn

# Partitions of these numbers of rows: one, none, many and few.
ROWS = [1, 0, 250, 7, 141, 1]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Return a client of two worker processes."""
    cluster = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
    )
    with cluster, Client(cluster) as client:
        yield client


def partitioned(frame: pd.DataFrame) -> dd.DataFrame:
    """Return the rows in partitions of unequal sizes."""
    ends = np.cumsum(ROWS)
    assert ends[-1] == len(frame)
    parts = [frame.iloc[end - rows : end] for rows, end in zip(ROWS, ends, strict=True)]
    return dd.from_delayed([dask.delayed(part) for part in parts], meta=frame.iloc[:0])


QUESTIONS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    ((), {}),
    (("--mean", "--std", "--only"), {"mean": True, "std": True, "only": True}),
    (
        ("--quantiles", "0.05,0.5,0.95", "--mode", "--hdr", "0.8", "--flag-extrapolation"),
        {"quantiles": [0.05, 0.5, 0.95], "mode": True, "hdr": 0.8, "flag_extrapolation": True},
    ),
    (
        ("--density", "--cdf", "--log", "--given", "v", "--only"),
        {"density": True, "cdf": True, "log": True, "given": "v", "only": True},
    ),
    (("--parameters", "--correlation"), {"parameters": True, "correlation": True}),
]


@pytest.mark.parametrize(("flags", "questions"), QUESTIONS)
def test_rows_are_those_of_the_command_line(
    client: Client, wide: Path, tmp_path: Path, flags: tuple[str, ...], questions: dict[str, Any]
) -> None:
    written = tmp_path / "answers.csv"
    done = mdn("predict", wide / "model.pt", wide / "data.csv", *flags, "-q", "-o", written)
    assert done.returncode == 0, done.stderr
    # In the file a number is the shortest text that reads back exactly.
    expected = pd.read_csv(written, dtype=str).astype(float)
    rows = partitioned(mdncli.read_table(wide / "data.csv"))
    lazy = distributed.predict(rows, str(wide / "model.pt"), **questions)
    answers = client.compute(lazy, sync=True)
    assert lazy.npartitions == len(ROWS)
    pd.testing.assert_frame_equal(
        answers.reset_index(drop=True), expected, check_exact=True, check_dtype=False
    )
    assert lazy.dtypes.to_dict() == answers.dtypes.to_dict()


def test_a_model_in_memory_answers_as_its_file_does(client: Client, fitted: Path) -> None:
    frame = mdncli.read_table(fitted / "data.csv")
    rows = dd.from_pandas(frame, npartitions=3)
    model = mdncli.load(fitted / "model.pt")
    lazy = distributed.predict(rows, model, median=True)
    answers = client.compute(lazy, sync=True)
    pd.testing.assert_frame_equal(answers, model.predict(frame, median=True), check_exact=True)


def test_a_worker_loads_a_model_once(client: Client, fitted: Path, tmp_path: Path) -> None:
    shutil.copy(fitted / "model.pt", tmp_path / "model.pt")
    rows = dd.from_pandas(mdncli.read_table(fitted / "data.csv"), npartitions=8)
    lazy = distributed.predict(rows, tmp_path / "model.pt", mean=True)
    # The workers do not read the file: it was sent to them.
    (tmp_path / "model.pt").unlink()
    client.run(count_loads)
    first = client.compute(lazy, sync=True)
    assert client.compute(lazy + 0.0, sync=True).equals(first)
    counts = client.run(loads)
    assert max(counts.values()) == 1
    assert len(counts) == 2


def count_loads() -> None:
    """Forget the models that this worker has loaded, and count those that it loads from now on."""
    load = getattr(distributed.load, "uncounted", distributed.load)

    def counting(*arguments: Any) -> mdncli.ConditionalDensity:
        counting.loads += 1
        return load(*arguments)

    counting.loads, counting.uncounted = 0, load
    distributed._models.clear()
    distributed.load = counting


def loads() -> int:
    """Return how many models this worker has loaded since."""
    return distributed.load.loads


def test_a_cell_that_cannot_be_used_ends_the_job(client: Client, wide: Path) -> None:
    frame = mdncli.read_table(wide / "data.csv").astype({"a": object})
    frame.loc[300, "a"] = "abc"
    rows = partitioned(frame)
    lazy = distributed.predict(rows, wide / "model.pt")
    where = "Partition 4, which begins at the index '258': the rows, row 43, column 'a': 'abc'"
    with pytest.raises(DataError, match=f"{where} is not a number"):
        client.compute(lazy, sync=True)
    skipped = distributed.predict(
        rows, wide / "model.pt", on_bad_rows="skip", flag_extrapolation=True, only=True
    )
    answers = client.compute(skipped, sync=True)
    assert answers.isna().any(axis=1).to_numpy().nonzero()[0].tolist() == [300]
    assert set(answers.dtypes) == set(skipped.dtypes) == {np.dtype(float)}


def test_what_can_be_known_without_rows_is_refused_at_once(wide: Path) -> None:
    frame = mdncli.read_table(wide / "data.csv")
    rows = partitioned(frame)
    with pytest.raises(DataError, match="'b'"):
        distributed.predict(rows.drop(columns="b"), wide / "model.pt")
    with pytest.raises(ParameterError, match="between 0 and 1"):
        distributed.predict(rows, wide / "model.pt", quantiles=2.0)
    with pytest.raises(TypeError, match="quantile"):
        distributed.predict(rows, wide / "model.pt", quantile=0.5)
    with pytest.raises(TypeError, match="predict_frame"):
        distributed.predict(frame, wide / "model.pt")


# One part of a table, as Spark and Ray send it.


def test_parts_of_any_size_have_the_rows_of_the_whole(wide: Path) -> None:
    frame = mdncli.read_table(wide / "data.csv")
    questions: dict[str, Any] = {"mean": True, "interval": 0.9, "density": True, "hdr": 0.8}
    whole = mdncli.load(wide / "model.pt").predict(frame, **questions)
    for rows in (1, 2, 17, 130):
        parts = [frame.iloc[at : at + rows] for at in range(0, len(frame), rows)][:25]
        answers = [distributed.predict_frame(p, wide / "model.pt", **questions) for p in parts]
        found = pd.concat(answers)
        pd.testing.assert_frame_equal(found, whole.iloc[: len(found)], check_exact=True)


def test_another_model_in_the_same_file_is_loaded(fitted: Path, tmp_path: Path) -> None:
    frame, path = pd.DataFrame({"x": [0.5]}), tmp_path / "model.pt"
    shutil.copy(fitted / "model.pt", path)
    first = distributed.predict_frame(frame, path, mean=True)
    again = distributed.predict_frame(frame, path, mean=True)
    assert first.equals(again)
    table = mdncli.datasets.generate("sinusoid", n=100)
    mdncli.fit(table, target="x", mixtures=1, steps=2).save(path)
    other = pd.DataFrame({"y": [0.5]})
    assert list(distributed.predict_frame(other, path, mean=True)) == ["y", "x_mean"]


def test_a_warning_comes_once_in_a_process(fitted: Path) -> None:
    far = pd.DataFrame({"x": [1e3, 1e4]})
    distributed._warned.clear()
    with pytest.warns(MdnWarning, match="outside its training range") as warned:
        for rows in (1, 2, 2):
            distributed.predict_frame(far[:rows], fitted / "model.pt")
    assert len(warned) == 1
    # Elsewhere nothing is kept back.
    with pytest.warns(MdnWarning, match="outside its training range"):
        mdncli.load(fitted / "model.pt").predict(far)


def test_an_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(DataError("the rows")))
    assert (type(error), str(error)) == (DataError, "the rows")


@pytest.mark.parametrize("name", distributed.__all__)
def test_the_examples_run(fitted: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(fitted)
    function = getattr(distributed, name)
    [test] = doctest.DocTestFinder().find(function, name, globs={name: function})
    lines: list[str] = []
    assert doctest.DocTestRunner().run(test, out=lines.append).failed == 0, "".join(lines)
    assert test.examples


def test_one_part_needs_no_dask() -> None:
    code = (
        "import sys, mdncli, mdncli.api\n"
        "from mdncli.distributed import predict_frame\n"
        "print(*sorted({'dask', 'distributed', 'pandas', 'torch'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
