"""The version of the model file, and the migration of each older version to the next one.

To change the format: let `mdncli.modelfile.writer` write the new version only, add a function here
that turns the content of the version before into the new one, and add a small file of the old
version, with its expected answers, to `tests/modelfile/files/`.
"""

import math
import shlex
from typing import Any

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
    smallest = plain["architecture"]["sigma_floor"]
    schema = {
        "features": [
            {**column, "knots": [], "scores": []} for column in plain["schema"]["features"]
        ],
        "targets": [
            {**column, "step": None, "min_sigma": smallest * column["scale"]}
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
    rung = {
        **{"name": "networks", "architecture": plain["architecture"], "members": plain["members"]},
        **{"weight": 1.0, "sigma_scale": 1.0, "temperature": 1.0, "nll_valid": math.nan},
    }
    state = {
        (f"rung.0.{name}" if name.startswith("network.") else name): tensor
        for name, tensor in plain["state_dict"].items()
    }
    return {
        **plain,
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
    return {**plain, "schema": schema, "rungs": rungs, "memory": memory}


def parse_command(command: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the request and the dialect of a command line such as `mdn fit DATA --lr 0.1`.

    Args:
        command: with long options only, each with its value as the next word.

    Returns:
        The request, by parameter name: a list for an option that may be repeated, True for an
        option without a value, otherwise a text. And the dialect, as `Dialect.to_plain` returns it.
        Both are empty if the text is not such a command line.
    """
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
