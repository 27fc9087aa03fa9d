"""Older formats of the model file, each raised to the next.

When the format changes: write the new version only, add the function that turns a dictionary of the
version before into the new one, and keep a small file of the old version with its answers in
`tests/files/`.
"""

import math
from dataclasses import asdict
from typing import Any

from mdncli.density.record import Origin


def raised(plain: dict[str, Any], version: int) -> dict[str, Any]:
    """Return what a model file of this version would hold in the newest one."""
    for raise_by_one in _RAISED[version - 1 :]:
        plain = raise_by_one(plain)
    return plain


def _from_version_1(plain: dict[str, Any]) -> dict[str, Any]:
    """Return what version 2 would hold: one member, and features that are only standardized.

    Version 1 had one floor of sigma for all targets, no unconditional mixture, and no report on the
    components.
    """
    floor = plain["architecture"]["sigma_floor"]
    schema = {
        "features": [
            {**column, "knots": [], "scores": []} for column in plain["schema"]["features"]
        ],
        "targets": [
            {**column, "step": None, "min_sigma": floor * column["scale"]}
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
    """Return what version 3 would hold: a model of unknown origin, never cross-validated."""
    return {**plain, "record": {**plain["record"], "cv": []}, "origin": asdict(Origin())}


def _from_version_3(plain: dict[str, Any]) -> dict[str, Any]:
    """Return what version 4 would hold: no gaps, no bounds and no weights."""
    features = [
        {**column, "kind": "number", "gaps": False} for column in plain["schema"]["features"]
    ]
    unbounded = {"lower": None, "upper": None}
    targets = [{**column, **unbounded} for column in plain["schema"]["targets"]]
    return {**plain, "schema": {"features": features, "targets": targets, "weight": None}}


# From each version to the next.
_RAISED = (_from_version_1, _from_version_2, _from_version_3)
FORMAT_VERSION = len(_RAISED) + 1
