"""The library changes nothing in the process that uses it."""

import subprocess
import sys
from pathlib import Path

import pytest

# Every entry of the state must be the same before and after. Libraries that the package imports are
# imported first, since they have side effects of their own.
STATE = """
import csv, decimal, locale, os, random, signal, sys, warnings
import numpy as np, scipy.sparse, scipy.special, scipy.stats, threadpoolctl, torch
import mdncli
from mdncli import MdnError, fit, load
from mdncli.requests import PredictRequest, SampleRequest

def state():
    mask = os.umask(0o22)
    os.umask(mask)
    return {
        "blas": [each["num_threads"] for each in threadpoolctl.threadpool_info()],
        "torch threads": torch.get_num_threads(),
        "torch random": torch.get_rng_state().tolist(),
        "torch dtype": torch.get_default_dtype(),
        "torch deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch gradient": torch.is_grad_enabled(),
        "numpy random": repr(np.random.get_state()),
        "numpy errors": np.geterr(),
        "numpy printing": np.get_printoptions(),
        "random": random.getstate(),
        "warnings": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "locale": locale.setlocale(locale.LC_ALL),
        "csv": (csv.field_size_limit(), csv.list_dialects()),
        "decimal": repr(decimal.getcontext()),
        "umask": mask,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "signals": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGPIPE)],
        "hooks": (sys.excepthook, sys.stdout, sys.stderr, sys.displayhook),
        "recursion": sys.getrecursionlimit(),
        "path": list(sys.path),
    }

def require_unchanged(before, what):
    now = state()
    for name in before:
        assert now[name] == before[name], (what, name, before[name], now[name])

QUICK = {"mixtures": 2, "hidden": (8,), "steps": 20}
model = load("model.pt")
# A user's own settings, none of them a default.
warnings.simplefilter("error", ResourceWarning)
torch.set_num_threads(2)
np.seterr(over="ignore")
csv.field_size_limit(12345)
os.umask(0o27)
random.seed(3)
"""


def run(folder: Path, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STATE + code],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_answers_change_nothing(fitted: Path) -> None:
    run(
        fitted,
        """
import matplotlib
model.plot("calibration", "data.csv")
matplotlib.rcParams["lines.linewidth"] = 7.5
parameters = dict(matplotlib.rcParams)
# The user's own limit holds before, during and after an answer.
with threadpoolctl.threadpool_limits(2, user_api="blas"):
    before = state()
    assert 2 in before["blas"]
    rows = mdncli.read_table("data.csv")
    require_unchanged(before, "read_table")
    questions = {"mean": True, "mode": True, "hdr": 0.9, "quantiles": [0.1], "density": True}
    model.predict(rows, **questions)
    require_unchanged(before, "predict")
    model.sample(rows, n=3, seed=2)
    require_unchanged(before, "sample")
    model.evaluate(rows)
    require_unchanged(before, "evaluate")
    model.plot("calibration", rows)
    require_unchanged(before, "plot")
    model.save("copy.pt")
    require_unchanged(before, "save")
    for wrong in ({"quantiles": 2.0}, {"given": "z"}):
        try:
            model.predict(rows, **wrong)
        except MdnError:
            require_unchanged(before, wrong)
assert dict(matplotlib.rcParams) == parameters
assert "matplotlib.pyplot" not in sys.modules
""",
    )


def test_two_interleaved_predictions_change_nothing(fitted: Path) -> None:
    """Each prediction is computed piece by piece, and one is never finished."""
    run(
        fitted,
        """
x = np.linspace(-1.0, 1.0, 300_000)[:, None]
request = PredictRequest.of(mean=True, only=True)
with threadpoolctl.threadpool_limits(2, user_api="blas"):
    before = state()
    first, second = (iter(model.predictions(x, request).pieces) for _ in range(2))
    draws = iter(model.draws(x, SampleRequest.of(seed=1)).pieces)
    one = next(first)
    require_unchanged(before, "the first piece of the first")
    other = next(second)
    assert (one["y_mean"] == other["y_mean"]).all()
    next(draws)
    require_unchanged(before, "the first piece of the second")
    rest = list(first)
    assert rest, "there is only one piece"
    require_unchanged(before, "the end of the first")
    del second, draws
    require_unchanged(before, "an iteration that is given up")
whole = model.condition(x).mean()
found = np.concatenate([piece["y_mean"] for piece in [one, *rest]])
assert (found == whole).all()
""",
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_a_fit_changes_nothing_even_if_it_fails(fitted: Path, threads: int) -> None:
    run(
        fitted,
        f"""
class Enough(Exception): pass
def fail(epoch): raise Enough
with threadpoolctl.threadpool_limits(2, user_api="blas"):
    before = state()
    fit("data.csv", threads={threads}, **QUICK)
    require_unchanged(before, "fit")
    fit("data.csv", threads={threads}, mixtures="auto", members=2, cv=2, steps=4, hidden=[4])
    require_unchanged(before, "cross-validation")
    for wrong in ({{"lr": 1e20}}, {{"lr": 0.0}}, {{"target": "z"}}):
        try:
            fit("data.csv", threads={threads}, **{{**QUICK, **wrong}})
        except MdnError:
            require_unchanged(before, wrong)
        else:
            raise AssertionError(wrong)
    try:
        fit("data.csv", threads={threads}, progress=fail, **QUICK)
    except Enough:
        require_unchanged(before, "a failing callback")
    else:
        raise AssertionError("no failure")
""",
    )
