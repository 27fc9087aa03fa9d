"""`mdn plot`: which tables the kinds need, and what is refused."""

from pathlib import Path

import pytest
from commands.helpers import png_size

from running import Run


@pytest.mark.parametrize("kind", ["calibration", "residuals"])
def test_a_kind_that_needs_data_is_refused_without(fitted: Path, here: Run, kind: str) -> None:
    done = here("plot", fitted / "model.pt", "--kind", kind)
    assert done.returncode == 2
    assert f"mdn plot MODEL DATA --kind {kind}" in done.stderr.decode()


def test_row_and_rows_go_together(fitted: Path, here: Run) -> None:
    model, data = fitted / "model.pt", fitted / "data.csv"
    without = here("plot", model, "--kind", "row")
    assert without.returncode == 2
    assert "mdn plot MODEL --kind row --rows FILE" in without.stderr.decode()
    other = here("plot", model, data, "--kind", "calibration", "--rows", data)
    assert other.returncode == 2
    assert "--rows is for --kind row" in other.stderr.decode()
    both = here("plot", "-", "--kind", "row", "--rows", "-")
    assert both.returncode == 2
    assert here("plot", model, "--kind", "row", "--rows", "none.csv").returncode == 66


@pytest.mark.parametrize(
    "arguments",
    [
        ("h.csv", "--kind", "calibration"),
        ("h.csv", "--kind", "residuals"),
        ("--kind", "row", "--rows", "h.csv"),
    ],
)
def test_a_header_alone_is_refused(
    fitted: Path, here: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "h.csv").write_text("x,y\n")
    done = here("plot", fitted / "model.pt", *arguments)
    assert done.returncode == 65
    assert "h.csv: --kind" in done.stderr.decode()
    assert "needs rows" in done.stderr.decode()
    assert not (tmp_path / "plot.png").exists()


def test_rows_may_lack_their_targets_and_come_from_standard_input(wide: Path, run: Run) -> None:
    rows = b"b,extra,c,a\n50,text,3,0\n60,,3.1,-1\n"
    arguments = ("plot", wide / "model.pt", "--kind", "row", "--rows", "-", "-o", "-")
    done = run(*arguments, stdin=rows)
    assert done.returncode == 0, done.stderr
    assert min(png_size(done.stdout)) >= 400
    # Only the target that is shown is read.
    with_other = b"b,c,a,v\n50,3,0,?\n60,3.1,-1,?\n"
    assert run(*arguments, stdin=with_other).stdout == done.stdout
    refused = run(*arguments, "--target", "v", stdin=with_other)
    assert refused.returncode == 65
    assert "column 'v'" in refused.stderr.decode()
