"""What a model file holds in its newest version, and the migration of each older one to the next.

To change the format: let `mdncli.modelfile.writer` write the new version only, add a function here
that turns the content of the version before into the new one, and add a small file of the old
version, with its expected answers, to `tests/modelfile/files/`.
"""

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from mdncli.columns.transforms import LARGEST_TARGET
from mdncli.modelfile.archive import StoredTensor
from mdncli.settings import Activation, Covariance

FORMAT = "mdncli.model"
# The names of the tensors of the marginal reference.
REFERENCE_TENSORS = ("reference.log_pi", "reference.mu", "reference.sigma")
# The arrays of each part of the memory; the tensor of each is named like `forest.roots`.
MEMORY_TENSORS = {
    "forest": ("roots", "feature", "threshold", "left", "value"),
    "boosted": ("feature", "threshold", "value", "base"),
    "neighbours": ("columns", "scale", "points", "y"),
}

_REPEATED = (
    *("target", "feature", "ignore", "categorical", "numeric", "datetime"),
    *("min_sigma", "lower", "upper", "na"),
)
# No one typed a longer one.
_LONGEST_COMMAND = 1 << 16
_SWITCHES = ("baseline", "no_header")
_OF_DIALECT = (
    *("delimiter", "decimal", "encoding", "quote", "escape", "comment", "no_header", "na"),
)


def migrate(plain: dict[str, Any], version: int) -> dict[str, Any]:
    """Return the content of a model file of some version, as the newest version stores it."""
    for to_next_version in _MIGRATIONS[version - 1 :]:
        plain = to_next_version(plain)
    return plain


def _from_version_1(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the content of version 2.

    Version 1 has one member, one smallest sigma for all targets, and features that are only
    standardized. It has no marginal reference and no report on the components.
    """
    # A text times a whole number would be a longer text.
    smallest = float(plain["architecture"]["sigma_floor"])
    schema = {
        "features": [
            {**column, "knots": [], "scores": []} for column in plain["schema"]["features"]
        ],
        "targets": [
            {**column, "step": None, "min_sigma": smallest * float(column["scale"])}
            for column in plain["schema"]["targets"]
        ],
    }
    architecture = {k: v for k, v in plain["architecture"].items() if k != "sigma_floor"}
    record = {
        **{key: value for key, value in plain["record"].items() if key != "best_epoch"},
        "best_epochs": [plain["record"]["best_epoch"]],
        "reference": {"nll_train": math.nan, "nll_valid": math.nan},
        "components": [],
        "tried": {},
    }
    state = {
        name.replace("network.", "network.0.", 1): tensor
        for name, tensor in plain["state_dict"].items()
    }
    return {
        **plain,
        **{"schema": schema, "architecture": architecture, "record": record},
        **{"members": 1, "reference": False, "baseline_nll": math.nan, "state_dict": state},
    }


def _from_version_2(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the content of version 3: the origin is unknown, and there was no cross-validation."""
    origin = {"command": "", "table_sha256": "", "versions": {}}
    return {**plain, "record": {**plain["record"], "cv": []}, "origin": origin}


def _from_version_3(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the content of version 4: no missing values, no bounds and no weights."""
    features = [
        {**column, "kind": "number", "gaps": False} for column in plain["schema"]["features"]
    ]
    no_bounds = {"lower": None, "upper": None}
    targets = [{**column, **no_bounds} for column in plain["schema"]["targets"]]
    return {**plain, "schema": {"features": features, "targets": targets, "weight": None}}


def _from_version_4(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the content of version 5.

    Version 4 says `gaps` for `allows_missing`, and stores the command line of the fit as a text.
    """
    features = []
    for column in plain["schema"]["features"]:
        renamed = {("allows_missing" if k == "gaps" else k): v for k, v in column.items()}
        features.append(renamed)
    origin = {key: value for key, value in plain["origin"].items() if key != "command"}
    request, dialect = parse_command(plain["origin"]["command"])
    return {
        **plain,
        "schema": {**plain["schema"], "features": features},
        "origin": {"request": request, "dialect": dialect, **origin},
    }


def _from_version_5(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the content of version 6.

    Version 5 has one kind of networks and no background, and number features have no linear input.
    """
    features = [
        column if column["kind"] == "category" else {**column, "linear": False}
        for column in plain["schema"]["features"]
    ]
    architecture = plain["architecture"]
    rung = {
        **{"name": "networks", "architecture": architecture, "members": plain["members"]},
        **{"mixtures": architecture["mixtures"]},
        **{"weight": 1.0, "sigma_scale": 1.0, "temperature": 1.0, "nll_valid": math.nan},
    }
    state = {
        (f"rung.0.{name}" if name.startswith("network.") else name): tensor
        for name, tensor in plain["state_dict"].items()
    }
    kept = {k: v for k, v in plain.items() if k not in ("architecture", "members")}
    return {
        **kept,
        **{"schema": {**plain["schema"], "features": features}, "state_dict": state},
        **{"rungs": [rung], "background": None},
    }


def _from_version_6(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the content of version 7: no forest."""
    rungs = [{**rung, "reads_forest": False} for rung in plain["rungs"]]
    return {**plain, "rungs": rungs, "forest": False}


def _from_version_7(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the content of version 8.

    In version 7 the memory is a forest alone, and the transform between two bounds is the logit, of
    order 1.
    """
    rungs = []
    for rung in plain["rungs"]:
        kept = {key: value for key, value in rung.items() if key != "reads_forest"}
        rungs.append({**kept, "reads": ["forest"] if rung["reads_forest"] else []})
    targets = [{**column, "order": 1} for column in plain["schema"]["targets"]]
    schema = {**plain["schema"], "targets": targets}
    memory = ["forest"] if plain["forest"] else []
    others = {key: value for key, value in plain.items() if key != "forest"}
    return {**others, "schema": schema, "rungs": rungs, "memory": memory}


def parse_command(command: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the request and the dialect of a command line such as `mdn fit DATA --lr 0.1`.

    Args:
        command: with long options only, each with its value as the next word.

    Returns:
        The request, by parameter name: a list for an option that may be repeated, True for an
        option without a value, otherwise a text. And the dialect, as `Dialect.to_plain` returns it.
        Both are empty if the text is not such a command line.
    """
    if len(command) > _LONGEST_COMMAND:
        return {}, {}
    try:
        values = _option_values(shlex.split(command))
    except ValueError:
        return {}, {}
    request = {name: value for name, value in values.items() if name not in _OF_DIALECT}
    dialect = {name: value for name, value in values.items() if name in _OF_DIALECT}
    if dialect.pop("no_header", False):
        dialect["header"] = False
    for name in ("delimiter", "quote", "escape", "comment"):
        # The command line writes a tab as \t, and no character as an empty text.
        if dialect.get(name) == "\\t":
            dialect[name] = "\t"
        if dialect.get(name) == "":
            dialect[name] = None
    # Without these two, a None is the default, which a dialect does not store.
    return request, {k: v for k, v in dialect.items() if v is not None or k == "quote"}


def _option_values(words: list[str]) -> dict[str, Any]:
    """Return the values of the options of a command line by parameter name.

    Raises:
        ValueError: a word is not where it should be.
    """
    if words[:3] != ["mdn", "fit", "DATA"]:
        raise ValueError("not a command line of mdn fit")
    values: dict[str, Any] = {}
    rest = iter(words[3:])
    for option in rest:
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or not name.isidentifier():
            raise ValueError("an option was expected")
        if name in _SWITCHES:
            values[name] = True
            continue
        value = next(rest, None)
        if value is None:
            raise ValueError("an option has no value")
        values[name] = [*values.get(name, []), value] if name in _REPEATED else value
    return values


def _from_version_8(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the content of version 9. In version 8 every target is continuous."""
    targets = [{**target, "rounded": False} for target in plain["schema"]["targets"]]
    return {**plain, "schema": {**plain["schema"], "targets": targets}}


def _from_version_9(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the content of version 10.

    In version 9 no value but a rounded one has a probability, every value is known, and no target
    is an angle.
    """
    new = {
        **{"atoms": [], "gap": 0.0, "closed": [False, False]},
        **{"censor_below": None, "censor_above": None, "period": None},
    }
    targets = [{**target, **new} for target in plain["schema"]["targets"]]
    return {**plain, "schema": {**plain["schema"], "targets": targets, "event": None}}


# From each version to the next.
_MIGRATIONS = (
    *(_from_version_1, _from_version_2, _from_version_3, _from_version_4, _from_version_5),
    *(_from_version_6, _from_version_7, _from_version_8, _from_version_9),
)
FORMAT_VERSION = len(_MIGRATIONS) + 1

# What a value must be: a condition, a list of values of a shape, or a dictionary with these names.
_Shape = Any
# The largest size of a number, of a number of a target, and of a normal score.
_LARGEST, _LARGEST_OF_TARGET = 1e300, 10.0 * LARGEST_TARGET
_LARGEST_SCORE = 1e4
_LONGEST_WORD = 200
SPLITS = ("nll_train", "nll_valid")
_STOPPED = ("interrupted", "time", "faults", "patience", "epochs")


@dataclass(frozen=True)
class _Named:
    """A dictionary of values of one shape under any names that meet a condition."""

    is_name: Callable[[Any], bool]
    shape: _Shape


@dataclass(frozen=True)
class _OfKind:
    """A dictionary whose entry `kind` says which of several shapes it has."""

    shapes: dict[str, dict[str, _Shape]]


def _is(*kinds: type[Any]) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds


def _or_none(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


def _up_to(largest: float) -> Callable[[Any], bool]:
    return lambda value: type(value) is float and abs(value) <= largest


_text, _switch, _tensor = _is(str), _is(bool), _is(StoredTensor)
_number, _target_number = _up_to(_LARGEST), _up_to(_LARGEST_OF_TARGET)


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _score(value: Any) -> bool:
    """Return whether a value is an NLL, which may be infinite or unknown."""
    return type(value) is float and not _LARGEST < abs(value) < math.inf


def _share(value: Any) -> bool:
    return type(value) is float and 0.0 <= value <= 1.0


def _word(value: Any) -> bool:
    return type(value) is str and len(value) <= _LONGEST_WORD


def _option_value(value: Any) -> bool:
    """Return whether a value is plain, or a list or a dictionary of plain values."""
    values = [*value.keys(), *value.values()] if isinstance(value, dict) else [value]
    values = value if isinstance(value, list) else values
    return all(type(each) in (str, int, float, bool, type(None)) for each in values)


_COLUMN: dict[str, _Shape] = {
    "name": _text,
    **dict.fromkeys(("mean", "scale", "lowest", "median", "highest"), _number),
}
_NUMBER_FEATURE = {
    **_COLUMN,
    **{"kind": _text, "knots": [_number], "scores": [_up_to(_LARGEST_SCORE)]},
    **{"allows_missing": _switch, "linear": _switch},
}
_FEATURE = _OfKind(
    {
        "number": _NUMBER_FEATURE,
        "date": {**_NUMBER_FEATURE, "format": _word},
        "angle": {**_NUMBER_FEATURE, "period": _number},
        "category": {
            **{"kind": _text, "name": _text, "levels": [_text], "rare": [_count]},
            "allows_missing": _switch,
        },
    }
)
_TARGET = {
    **dict.fromkeys(_COLUMN, _target_number),
    **dict.fromkeys(("min_sigma", "gap"), _target_number),
    **dict.fromkeys(("step", "lower", "upper", "period"), _or_none(_target_number)),
    **dict.fromkeys(("censor_below", "censor_above"), _or_none(_target_number)),
    **{"name": _text, "order": _count, "rounded": _switch},
    **{"atoms": [_target_number], "closed": [_switch]},
}
_RUNG = {
    **{"name": _word, "members": _count, "mixtures": _count, "reads": [_text]},
    **dict.fromkeys(("weight", "sigma_scale", "temperature"), _number),
    "nll_valid": _score,
    "architecture": {
        **{"mixtures": _count, "hidden": [_count], "frequencies": _count},
        **{"activation": get_args(Activation).__contains__},
        **{"covariance": get_args(Covariance).__contains__},
    },
}
_RECORD = {
    **dict.fromkeys(("rows", "rows_valid", "epochs", "faults"), _count),
    **{"best_epochs": [_count], "stopped": _STOPPED.__contains__},
    **dict.fromkeys(SPLITS, _score),
    **{
        "history": {split: [_score] for split in SPLITS},
        "reference": dict.fromkeys(SPLITS, _score),
    },
    "components": [
        {
            **{"weight": [_share], "leads": [_share], "at_floor": [_share]},
            **{"effective": _number, "duplicates": _count},
        }
    ],
    "tried": _Named(_count, _score),
    "cv": [lambda fold: _is_fold(fold)],
}
_ORIGIN = {
    "request": _Named(_word, _option_value),
    "dialect": _Named(_word, _option_value),
    "table_sha256": _word,
    "versions": _Named(_word, _word),
}
_CONTENT = {
    **{"format": _text, "format_version": _count},
    "schema": {
        **{"features": [_FEATURE], "targets": [_TARGET]},
        **dict.fromkeys(("weight", "event"), _or_none(_text)),
    },
    **{"rungs": [_RUNG], "background": _or_none(_share), "memory": [_text]},
    **{"settings": _Named(_word, _option_value), "record": _RECORD, "origin": _ORIGIN},
    **{"reference": _switch, "baseline": _switch, "baseline_nll": _score},
    "state_dict": _Named(_text, _tensor),
}


def _is_fold(fold: Any) -> bool:
    """Return whether a value holds the scores of a fold, as `Evaluation.to_plain` returns them.

    A score is a number, or one number for each target.
    """
    if type(fold) is not dict or not {"nll", "crps", "coverage"} <= fold.keys():
        return False
    by_target, one = isinstance(fold["crps"], dict), _is(float, int)
    shapes: list[_Shape] = [one, _Named(_text, one), _Named(_text, _Named(_text, one))]
    fits = all(any(_fits(score, shape) for shape in shapes) for score in fold.values())
    covered = type(fold["coverage"]) is dict and one(fold["coverage"].get("0.9"))
    return fits and _number(fold["nll"]) and (by_target or (one(fold["crps"]) and covered))


def _require(holds: bool, place: str) -> None:
    if not holds:
        raise ValueError(f"{place} has an impossible value")


def _fits(value: Any, shape: _Shape) -> bool:
    try:
        _check(value, shape, "")
    except ValueError:
        return False
    return True


def _check(value: Any, shape: _Shape, place: str) -> None:
    """Check that a value has a shape.

    Args:
        value: plain values.
        shape: what it must be.
        place: where it is in the content of the file, for the message.

    Raises:
        ValueError: it, or a value in it, is something else.
        KeyError: a name is missing.
    """
    if isinstance(shape, _OfKind):
        kind: Any = value.get("kind") if type(value) is dict else None
        _require(_text(kind) and kind in shape.shapes, f"the kind of {place}")
        shape = shape.shapes[kind]
    kinds = {list: list, dict: dict, _Named: dict}
    if type(shape) not in kinds:
        _require(shape(value), place)
        return
    _require(type(value) is kinds[type(shape)], place)
    if isinstance(shape, list):
        for position, each in enumerate(value):
            _check(each, shape[0], f"{place}.{position}")
        return
    if isinstance(shape, _Named):
        _require(all(map(shape.is_name, value)), f"a name in {place}")
        shape = dict.fromkeys(value, shape.shape)
    for name in shape:
        _check(value[name], shape[name], f"{place}.{name}" if place else name)
    _require(len(value) == len(shape), f"a name in {place or 'the file'}")


def check_content(plain: dict[str, Any]) -> None:
    """Check that the content of a model file has the names and the kinds of the newest version.

    Raises:
        ValueError: a name is unknown, or a value cannot be what it is said to be.
        KeyError: a name is missing.
    """
    _check(plain, _CONTENT, "")
