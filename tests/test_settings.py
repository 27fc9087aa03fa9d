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
        ({"covariance": "full"}, "--covariance"),
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
def test_defaults_follow_the_number_of_rows(rows: int) -> None:
    settings = Settings()
    steps = settings.epochs_for(rows) * settings.steps_per_epoch(rows)
    assert steps >= 500
    assert steps <= max(800, 2.5 * rows / settings.batch_size, 8.0 * rows**0.5)
    assert 0.0 < settings.weight_decay_for(rows) <= 0.2


def test_an_option_given_by_hand_overrides_its_default() -> None:
    settings = Settings(epochs=3, patience=2, weight_decay=0.0)
    assert settings.epochs_for(10_000) == 3
    assert settings.patience_for(10_000) == 2
    assert settings.weight_decay_for(10) == 0.0
