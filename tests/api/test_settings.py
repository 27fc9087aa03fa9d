"""The declarations of the parameters of a fit."""

from dataclasses import fields, replace

import pytest

from mdncli.declarations import declaration_of
from mdncli.errors import ParameterError
from mdncli.requests import split_parameters
from mdncli.settings import PRESETS, FitOptions, Settings
from mdncli.tables.dialect import Dialect


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ({"mixtures": 0}, "mixtures"),
        ({"epochs": 0}, "epochs"),
        ({"patience": -1}, "patience"),
        ({"batch_size": 0}, "batch_size"),
        ({"threads": 0}, "threads"),
        ({"frequencies": -1}, "frequencies"),
        ({"hidden": (64, 0)}, "hidden"),
        ({"activation": "sine"}, "activation"),
        ({"covariance": "dense"}, "covariance"),
        ({"valid": 1.0}, "valid"),
        ({"valid": float("nan")}, "valid"),
        ({"lr": 0.0}, "lr"),
        ({"lr": float("inf")}, "lr"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(choice: dict, name: str) -> None:
    with pytest.raises(ParameterError, match=f"^{name} is"):
        Settings(**choice)


@pytest.mark.parametrize(("ladder", "plain", "least"), [(False, 5000, 1.0), (True, 1000, 0.65)])
@pytest.mark.parametrize("rows", [9, 900, 90_000, 9_000_000])
def test_steps_grow_with_the_square_root_of_many_rows(
    rows: int, ladder: bool, plain: int, least: float
) -> None:
    settings = Settings(ladder=ladder).for_rows(rows)
    steps = settings.epochs_for(rows) * settings.steps_per_epoch(rows)
    expected = settings.steps * max(least, (rows / plain) ** 0.5)
    # There are at least two epochs, and they are whole.
    assert expected <= steps <= max(expected + settings.steps_per_epoch(rows), 2.5 * rows / 256)


def test_a_given_parameter_overrides_its_default() -> None:
    settings = Settings(epochs=3, patience=2)
    assert settings.epochs_for(10_000) == 3
    assert settings.patience_for(10_000) == 2


def test_given_parameters_override_a_preset() -> None:
    assert Settings.of() == Settings()
    best = Settings.of("best")
    assert best.for_rows(1000).members > Settings().for_rows(1000).members > 1
    assert best.for_rows(100).members == Settings().for_rows(100).members
    assert Settings.of("best", members=3) == replace(best, members=3)
    assert set(PRESETS) == {"fast", "default", "best"}
    assert Settings.of("fast", lr=0.1) == replace(Settings.of("fast"), lr=0.1)


def test_open_choices_follow_from_the_number_of_rows() -> None:
    best = Settings.of("best")
    assert best.mixtures is None
    few, some, many = (best.for_rows(rows) for rows in (100, 1250, 100_000))
    assert (few.mixtures, some.mixtures, many.mixtures) == (2, 10, 12)
    assert (few.batch_size, some.batch_size, many.batch_size) == (128, 128, 512)
    assert some.epochs_for(1250) * some.steps_per_epoch(1250) >= 1000
    plain = Settings().for_rows(1000)
    assert plain == Settings().for_rows(150)
    assert (plain.ladder, plain.members, plain.mixtures) == (True, 5, 5)
    # The rungs of a ladder choose their layers.
    assert (plain.hidden, plain.frequencies) == (None, None)
    alone = Settings(ladder=False).for_rows(1000)
    assert (alone.hidden, alone.frequencies) == ((64, 64), 8)
    assert Settings().for_rows(100).members == 10
    joint = Settings().for_rows(10_000, 2)
    assert (joint.members, joint.mixtures) == (1, 10)
    for settings in (few, plain, alone):
        chosen = replace(settings, hidden=(64, 64), frequencies=8)
        assert chosen.for_rows(100_000) == chosen


@pytest.mark.parametrize(
    "named", [{"mixtures": 5}, {"hidden": (64, 64)}, {"frequencies": 8}, {"valid": 0.0}]
)
def test_a_named_network_is_alone_unless_the_ladder_is_asked_for(named: dict) -> None:
    alone = Settings(**named).for_rows(1000)
    assert (alone.ladder, alone.members) == (False, 1)
    assert Settings(**named, members=3).for_rows(1000).members == 3
    on = Settings(**named, ladder=True).for_rows(1000)
    assert (on.ladder, on.members) == (True, 5)


def test_every_parameter_is_declared_with_its_help_and_a_default_in_its_range() -> None:
    for each in (*fields(FitOptions), *fields(Settings)):
        declaration = declaration_of(each)
        assert declaration.help[0].isupper()
        assert declaration.help.endswith(".")
        assert declaration.panel
        if declaration.range is not None and isinstance(each.default, int | float):
            assert declaration.range.holds(each.default)
        [line] = [
            line
            for line in ((FitOptions.__doc__ or "") + (Settings.__doc__ or "")).splitlines()
            if line.startswith(f"        {each.name}: ")
        ]
        assert len(line) > len(each.name) + 20


def test_plain_values_make_the_same_settings() -> None:
    settings = Settings.of("best", hidden=[8, 4])
    assert settings.to_plain()["hidden"] == [8, 4]
    assert Settings(**settings.to_plain()) == settings


def test_parameters_are_split_by_the_class_that_declares_them() -> None:
    given = {"target": "y", "lr": 0.1, "delimiter": ";", "weight": None}
    options, settings, reading = split_parameters(given, FitOptions, Settings, Dialect)
    assert (options, settings, reading) == ({"target": "y"}, {"lr": 0.1}, {"delimiter": ";"})
    with pytest.raises(TypeError, match="There is no parameter 'lrr'. Did you mean 'lr'?"):
        split_parameters({"lrr": 0.1}, FitOptions, Settings)
