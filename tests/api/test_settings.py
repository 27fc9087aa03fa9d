from dataclasses import replace

import pytest

from mdncli.errors import UsageError
from mdncli.settings import Settings


@pytest.mark.parametrize(
    ("choice", "flag"),
    [
        ({"mixtures": 0}, "--mixtures"),
        ({"epochs": 0}, "--epochs"),
        ({"patience": -1}, "--patience"),
        ({"batch_size": 0}, "--batch-size"),
        ({"threads": 0}, "--threads"),
        ({"frequencies": -1}, "--frequencies"),
        ({"hidden": (64, 0)}, "--hidden"),
        ({"activation": "sine"}, "--activation"),
        ({"covariance": "dense"}, "--covariance"),
        ({"valid": 1.0}, "--valid"),
        ({"valid": float("nan")}, "--valid"),
        ({"lr": 0.0}, "--lr"),
        ({"lr": float("inf")}, "--lr"),
        ({"weight_decay": -0.1}, "--weight-decay"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_flag(choice: dict, flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        Settings(**choice)


@pytest.mark.parametrize("rows", [9, 900, 90_000, 9_000_000])
def test_steps_grow_with_the_square_root_of_many_rows(rows: int) -> None:
    settings = Settings()
    steps = settings.epochs_for(rows) * settings.steps_per_epoch(rows)
    asked = settings.steps * max(1.0, (rows / 5000) ** 0.5)
    # Whole epochs, and two of them at least.
    assert asked <= steps <= max(asked + settings.steps_per_epoch(rows), 2.5 * rows / 256)


def test_an_option_given_by_hand_overrides_its_default() -> None:
    settings = Settings(epochs=3, patience=2)
    assert settings.epochs_for(10_000) == 3
    assert settings.patience_for(10_000) == 2


def test_a_preset_is_overridden_by_what_is_given() -> None:
    assert Settings.of() == Settings()
    best = Settings.of("best")
    assert best.members > 1
    assert Settings.of("best", members=3, lr=None) == replace(best, members=3)


def test_noise_is_as_given_or_by_rows_and_columns() -> None:
    assert Settings(noise_x=0.2, noise_y=0.0).noise_for(100, 3) == (0.2, 0.0)
    settings = Settings(noise_x="auto", noise_y="auto")
    few, many = settings.noise_for(100, 4)[0], settings.noise_for(25_600, 4)[1]
    assert few == pytest.approx(0.1 * 100 ** (-1 / 8))
    assert few / many == pytest.approx(2.0)
