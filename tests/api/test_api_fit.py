"""`mdncli.fit`: every source of a table, and every parameter."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from small_fits import QUICK, every_kind, model_bytes, quick_fit

import mdncli
from mdncli import ConditionalDensity, Distribution, Settings, fit, load
from mdncli.columns.transforms import ORDER, Interval
from mdncli.errors import DataError, MdnWarning, MissingInputError, ParameterError
from mdncli.files import FileContent

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 2))
Y = X[:, 0] + 0.3 * RNG.normal(size=120)
BOTH = np.column_stack([Y, np.sin(X[:, 1]) + 0.1 * RNG.normal(size=120)])
FRAME = pd.DataFrame({"x1": X[:, 0], "x2": X[:, 1], "y": Y})


def means(model: ConditionalDensity, rows: Any = X) -> np.ndarray:
    return model.condition(rows).mean()


@pytest.mark.filterwarnings("ignore::mdncli.errors.MdnWarning")
def test_the_example_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = every_kind(400).rename(columns={"g": "firm", "number": "a", "u": "wage", "v": "b"})
    table.drop(columns="w").to_csv("wages.csv", index=False)
    rows, test = table[:7], table[300:]
    model = mdncli.fit(
        "wages.csv", target=["wage", "a"], mixtures=8, preset="best", group="firm", steps=4
    )
    predicted = model.predict(
        rows.drop(columns=["wage", "a"]), mean=True, quantiles=[0.05, 0.95], hdr=0.9
    )
    assert isinstance(predicted, pd.DataFrame)
    assert {"wage_mean", "wage_q05", "wage_q95", "wage_hdr90_lo1", "a_mean"} < set(predicted)
    assert len(predicted) == 7
    drawn = model.sample(rows, n=10, temperature=0.5, seed=1)
    assert drawn.shape == (70, 6)
    assert np.isfinite(model.evaluate(test).nll)
    assert isinstance(model.plot("calibration", test), Figure)
    distribution = model.condition(rows).given(a=1.5)
    assert isinstance(distribution, Distribution)
    assert distribution.quantile(0.9).shape == (7,)
    model.save("wages.pt")
    again = mdncli.load("wages.pt")
    np.testing.assert_array_equal(
        again.condition(rows).given(a=1.5).quantile(0.9), distribution.quantile(0.9)
    )


def test_a_model_is_shown_by_its_columns() -> None:
    assert repr(quick_fit(FRAME)) == (
        "ConditionalDensity(features=['x1', 'x2'], targets=['y'], members=1, mixtures=2)"
    )


# Sources.


@pytest.mark.parametrize(
    ("data", "y"),
    [
        (FRAME, None),
        (FRAME.sample(frac=1.0, axis=1, random_state=1)[["x1", "x2", "y"]], None),
        ({"x1": X[:, 0], "x2": X[:, 1], "y": Y}, None),
        ({name: FRAME[name].tolist() for name in FRAME}, None),
        (X, Y),
        (X.tolist(), Y.tolist()),
        (FRAME[["x1", "x2"]], FRAME["y"]),
        (FRAME[["x1", "x2"]], Y[:, None]),
        (FRAME[["x1", "x2"]].astype("Float64"), FRAME[["y"]]),
        ({"x1": X[:, 0], "x2": X[:, 1]}, Y),
        (FRAME.set_index(np.arange(120)[::-1]), None),
    ],
)
def test_every_source_gives_the_same_model(data: Any, y: Any) -> None:
    model = quick_fit(data, y)
    assert model.schema.feature_names == ["x1", "x2"]
    assert model.schema.target_names == ["y"]
    np.testing.assert_array_equal(means(model), means(quick_fit(FRAME)))


def test_a_path_gives_the_same_model(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    FRAME.to_csv(path, index=False)
    for source in (path, str(path)):
        model = quick_fit(source)
        np.testing.assert_array_equal(means(model), means(quick_fit(FRAME)))
        assert model.network.origin.table_sha256
    with pytest.raises(MissingInputError, match="nowhere: there is no such file"):
        fit("nowhere")


def test_an_array_of_all_columns_has_the_target_last() -> None:
    model = quick_fit(np.column_stack([X, Y]))
    assert (model.schema.feature_names, model.schema.target_names) == (["x1", "x2"], ["x3"])
    np.testing.assert_array_equal(means(model), means(quick_fit(FRAME)))
    first = quick_fit(np.column_stack([Y, X]), target="x1")
    assert first.schema.feature_names == ["x2", "x3"]


@pytest.mark.parametrize(
    ("x", "y", "names"),
    [
        (X, BOTH, ["y1", "y2"]),
        (X, pd.DataFrame(BOTH, columns=["u", "v"]), ["u", "v"]),
        (X, pd.Series(Y, name="price"), ["price"]),
        (X, pd.Series(Y), ["y"]),
        (pd.DataFrame(X, columns=["y", "b"]), Y, ["y_"]),
        (pd.DataFrame(X, columns=["y1", "b"]), BOTH, ["y_1", "y_2"]),
    ],
)
def test_targets_have_names(x: Any, y: Any, names: list[str]) -> None:
    model = quick_fit(x, y)
    assert model.schema.target_names == names
    assert means(model, x).shape == ((120,) if len(names) == 1 else (120, 2))


def test_rows_and_targets_must_match() -> None:
    for y, words in (
        (Y[:-1], "Got 120 rows but 119 targets; the counts must match and be at least one"),
        (pd.Series(Y, name="x1"), "'x1' names both a feature and a target"),
    ):
        with pytest.raises(DataError, match=words):
            fit(FRAME[["x1", "x2"]], y)


# Parameters.


def test_every_kind_of_column_is_learned() -> None:
    frame = every_kind()
    model = quick_fit(frame, target="u", ignore=["v", "g", "w"])
    assert [(f.name, f.kind) for f in model.schema.features] == [
        ("number", "number"),
        ("category", "category"),
        ("truth", "category"),
        ("date", "date"),
    ]
    expected = means(model, frame)
    texts = frame.assign(
        date=frame["date"].dt.strftime("%Y-%m-%d"), category=frame["category"].astype(object)
    )
    np.testing.assert_array_equal(means(model, texts), expected)
    zoned = frame.assign(date=frame["date"].dt.tz_localize("UTC").astype("datetime64[ms, UTC]"))
    np.testing.assert_array_equal(means(model, zoned), expected)
    with pytest.warns(MdnWarning, match="200 of 200 rows have a category in 'category'"):
        unseen = model.condition(frame.assign(category="new")).mean()
    assert (unseen != expected).all()
    assert np.isfinite(means(model, frame.assign(number=np.nan))).all()
    with pytest.raises(DataError, match="row 1, column 'date': the cell is empty"):
        model.condition(frame.assign(date=pd.NaT))


def test_a_frame_and_the_file_that_pandas_writes_of_it_give_the_same_answers(
    tmp_path: Path,
) -> None:
    frame = every_kind().assign(
        nullable=lambda f: f["g"].astype("Int64").where(f["g"] > 2),
        maybe=lambda f: f["truth"].astype("boolean").where(f["g"] > 1),
        text=lambda f: f["category"].astype("string"),
        code=lambda f: pd.Categorical((f["g"] % 3) / 2.0),
    )
    path = tmp_path / "data.csv"
    frame.to_csv(path, index=False)
    options = {"target": "u", "ignore": "v", "group": "g", "weight": "w"}
    by_frame = quick_fit(frame, **options)
    by_file = quick_fit(path, categorical="code", **options)
    assert [f.kind for f in by_file.schema.features] == [f.kind for f in by_frame.schema.features]
    expected = means(by_frame, frame)
    for model in (by_frame, by_file):
        for rows in (frame, path):
            np.testing.assert_array_equal(means(model, rows), expected)
    assert by_frame.network.record.history == by_file.network.record.history


def test_weights_and_groups_may_be_columns_or_values() -> None:
    frame = every_kind()
    options: dict[str, Any] = {"target": "u", "feature": "number,category"}
    by_name = quick_fit(frame, weight="w", group="g", **options)
    by_value = quick_fit(frame, weight=frame["w"], group=frame["g"].to_numpy(), **options)
    np.testing.assert_array_equal(means(by_value, frame), means(by_name, frame))
    assert by_name.schema.weight == "w"
    assert by_value.schema.weight is None
    assert (means(quick_fit(frame, **options), frame) != means(by_name, frame)).any()
    texts = quick_fit(frame, weight="w", group=frame["g"].astype(str).tolist(), **options)
    np.testing.assert_array_equal(means(texts, frame), means(by_name, frame))


def test_rows_of_the_users_own_may_be_held_out(tmp_path: Path) -> None:
    held = pd.DataFrame({"y": Y[:40], "x2": X[:40, 1], "x1": X[:40, 0], "more": 1.0})
    path = tmp_path / "held.csv"
    held.to_csv(path, index=False)
    by_frame = quick_fit(FRAME[40:], valid_file=held)
    by_path = quick_fit(FRAME[40:], valid_file=path)
    by_mapping = quick_fit(FRAME[40:], valid_file=dict(held))
    for model in (by_frame, by_path, by_mapping):
        assert model.network.record.rows_valid == 40
        assert model.network.origin.request["valid_file"] == "FILE"
    assert model_bytes(by_frame) == model_bytes(by_path) == model_bytes(by_mapping)
    with pytest.warns(MdnWarning, match="valid has no effect: valid_file gives the rows"):
        quick_fit(FRAME[40:], valid_file=held, valid=0.2)
    with pytest.raises(ParameterError, match="group and valid_file exclude each other"):
        quick_fit(FRAME, valid_file=held, group="x1")
    with pytest.raises(DataError, match="no rows to hold out"):
        quick_fit(FRAME, valid_file=held[:0])


def test_cross_validation_scores_the_folds_first() -> None:
    plain, crossed = quick_fit(FRAME), quick_fit(FRAME, cv=3)
    assert plain.network.record.cv == []
    assert [fold["rows"] for fold in crossed.network.record.cv] == [40, 40, 40]
    np.testing.assert_array_equal(means(crossed), means(plain))


def test_the_stored_request_has_names_with_commas_as_they_are() -> None:
    frame = FRAME.assign(**{"p,q": RNG.normal(size=120)})[["p,q", *FRAME]]
    model = quick_fit(frame, ignore="p,q", target="y")
    assert model.network.origin.request["ignore"] == ["p,q"]


def test_targets_may_have_bounds() -> None:
    frame = every_kind()
    features = "number,category,truth"
    model = quick_fit(frame, target="u,v", feature=features, lower={"v": 0}, min_sigma={"u": 0.5})
    u, v = model.schema.targets
    assert (u.lower, u.min_sigma) == (None, 0.5)
    assert (v.lower, v.upper) == (0.0, None)
    assert (model.condition(frame).sample(50)[:, 1] > 0.0).all()
    one = quick_fit(frame, target="v", feature=features, lower=0, upper=1e4)
    assert one.schema.transforms == (Interval(0.0, 1e4, ORDER),)
    with pytest.raises(DataError, match="is not above lower=3"):
        quick_fit(frame, target="v", feature=features, lower=3)


def test_settings_may_be_an_object() -> None:
    by_name, by_object = quick_fit(FRAME), fit(FRAME, settings=Settings(**QUICK))
    assert model_bytes(by_name) == model_bytes(by_object)
    with pytest.raises(ParameterError, match="settings and lr, preset exclude each other"):
        fit(FRAME, settings=Settings(**QUICK), lr=0.1, preset="fast")


def test_numbers_of_numpy_are_as_good_as_those_of_python() -> None:
    numbers = {"mixtures": np.int64(3), "lr": np.float32(0.25), "hidden": np.array([8, 4])}
    model = quick_fit(FRAME, **numbers, cv=np.int32(2), noise_x=np.float64(0.5), dropout=0)
    plain = quick_fit(FRAME, mixtures=3, lr=0.25, hidden=[8, 4], cv=2, noise_x=0.5, dropout=0.0)
    assert model_bytes(model) == model_bytes(plain)
    again = load(FileContent("model.pt", model_bytes(model)))
    assert again.network.origin == model.network.origin


def test_progress_is_called_with_every_epoch() -> None:
    epochs: list[Any] = []
    model = quick_fit(FRAME, progress=epochs.append, epochs=7, patience=7)
    *epochs, together = epochs
    assert (together.nll_train, together.nll_valid) == (
        model.network.record.nll_train,
        model.network.record.nll_valid,
    )
    assert [each.epoch for each in epochs] == list(range(1, 8))
    assert {each.epochs for each in epochs} == {7}
    assert [each.nll_valid for each in epochs] == model.network.record.history["nll_valid"]
    folds: list[Any] = []
    quick_fit(FRAME, progress=folds.append, cv=2, epochs=3, patience=3)
    assert [bool(each.fold) for each in folds] == [True] * 8 + [False] * 4


def test_stop_ends_learning_with_the_best_model_so_far() -> None:
    epochs: list[Any] = []
    model = quick_fit(FRAME, progress=epochs.append, stop=lambda: len(epochs) == 3, epochs=50)
    assert model.network.record.stopped == "interrupted"
    assert model.network.record.epochs == 3
    assert np.isfinite(means(model)).all()
    with pytest.raises(KeyboardInterrupt):
        quick_fit(FRAME, cv=3, stop=lambda: True)


def test_bad_rows_may_be_skipped() -> None:
    frame = FRAME.assign(x1=FRAME["x1"].astype(object))
    frame.loc[3, "x1"] = "x"
    with pytest.raises(DataError, match=r"row 4, column 'x1'.*on_bad_rows='skip'"):
        quick_fit(frame)
    with pytest.warns(MdnWarning, match="1 of 120 rows have a cell that cannot be used"):
        skipped = quick_fit(frame, on_bad_rows="skip")
    np.testing.assert_array_equal(means(skipped), means(quick_fit(FRAME.drop(index=3))))


def test_columns_without_information_are_left_out_with_a_warning() -> None:
    frame = FRAME.assign(name=[f"n{i}" for i in range(120)], one=1.0)[["name", "one", *FRAME]]
    with pytest.warns(MdnWarning) as caught:
        model = quick_fit(frame)
    assert model.schema.feature_names == ["x1", "x2"]
    words = [str(each.message) for each in caught]
    assert words == [
        "'name' is left out, because it has a different text in every row, as an identifier does.",
        "'one' is left out, because it is constant.",
    ]


def test_the_rows_and_their_schema_are_shown_before_learning() -> None:
    seen: list[Any] = []

    def prepared(dataset: Any, schema: Any) -> None:
        seen.extend([dataset, schema])
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        quick_fit(FRAME, prepared=prepared)
    dataset, schema = seen
    np.testing.assert_array_equal(dataset.x, X)
    assert schema.target_names == ["y"]


@pytest.mark.parametrize("name", ["mixture", "lrr", "random_state", "flag"])
def test_a_parameter_that_does_not_exist_is_a_type_error(name: str) -> None:
    with pytest.raises(TypeError, match=f"There is no parameter '{name}'"):
        fit(FRAME, **{name: 1})


def test_a_fit_says_nothing_of_its_own_rare_categories() -> None:
    frame = FRAME.assign(c=["p", "q"] * 59 + ["r", "s"])[["c", *FRAME]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = quick_fit(frame)
    with pytest.warns(MdnWarning, match="2 of 120 rows have a category in 'c'"):
        model.condition(frame)


def test_a_table_without_rows_is_first_checked_for_its_columns() -> None:
    with pytest.raises(DataError, match="there is no column 'q'"):
        fit(FRAME[:0], target="q")
    with pytest.raises(DataError, match="0 rows are too few. At least 10 are needed"):
        fit(FRAME[:0])


@pytest.mark.parametrize("target", [2, [2], "2", np.int64(2)])
def test_columns_may_have_numbers_as_names(target: Any) -> None:
    frame = pd.DataFrame(np.column_stack([X, Y]))
    model = quick_fit(frame, target=target, ignore=1)
    assert (model.schema.feature_names, model.schema.target_names) == (["0"], ["2"])


def test_the_features_may_be_in_a_file_and_the_targets_beside_it(tmp_path: Path) -> None:
    FRAME[["x1", "x2"]].to_csv(tmp_path / "x.csv", index=False)
    beside, whole = quick_fit(tmp_path / "x.csv", Y), quick_fit(FRAME)
    assert beside.schema.feature_names == ["x1", "x2"]
    np.testing.assert_array_equal(means(beside), means(whole))


def test_columns_that_no_model_file_has_room_for_are_refused_before_learning() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 3300)), rng.normal(size=80)
    with pytest.raises(
        DataError, match="its 3300 features need .* MB in a model file, .* out with ignore"
    ):
        mdncli.fit(x, y, steps=5, ladder=False)
