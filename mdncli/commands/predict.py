"""`mdn predict`."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mdncli.commands.console import say_written, warn
from mdncli.commands.given import Conditions, GivenTargets, conditions
from mdncli.commands.options import (
    Model,
    Output,
    Quiet,
    numbers_of_targets,
    probabilities,
)
from mdncli.commands.reading import OnBadRows, reads_tables, recalling, warn_of_left_out
from mdncli.commands.rows import Rows, read_rows, warn_of_extrapolation, warn_of_skipped
from mdncli.commands.streams import (
    only_one_from_standard_input,
    open_model,
    open_table,
    spare_inputs,
    writing,
)
from mdncli.errors import UsageError
from mdncli.tables.dialect import Dialect
from mdncli.words import listed

if TYPE_CHECKING:
    from mdncli.density.model import ConditionalDensity
    from mdncli.density.questions import Questions

_ROWS_AT_ONCE = 1 << 17
_POINT, _SPREAD, _AT = "Values", "Intervals", "Densities and probabilities"
_EXTRAPOLATES = "extrapolates"
_NOT_GIVEN = " --given NAME is the row's own value; give one for all rows with --given NAME=VALUE."
_NO_TARGET = (
    " The question is about the rows' own target values; ask about one value with --at-target "
    "where there are none."
)


def _option(panel: str, text: str, *names: str, metavar: str | None = None) -> Any:
    return typer.Option(
        *names, help=text, metavar=metavar, rich_help_panel=panel, show_default=False
    )


@reads_tables
def predict(
    model: Model,
    rows: Annotated[
        str,
        typer.Argument(
            metavar="ROWS", help="A table with the model's features; - for standard input."
        ),
    ],
    mean: Annotated[bool, _option(_POINT, "The mean: y_mean.", "--mean")] = False,
    std: Annotated[bool, _option(_POINT, "The standard deviation: y_std.", "--std")] = False,
    median: Annotated[bool, _option(_POINT, "The median: y_median.", "--median")] = False,
    mode: Annotated[
        bool,
        _option(
            _POINT,
            "Where the density is highest: y_mode. With several targets the joint point, by a "
            "search from every component's mean and the midpoints of two.",
            "--mode",
        ),
    ] = False,
    component_mean: Annotated[
        bool,
        _option(
            _POINT,
            "The mean of the most probable component, mapped where there are bounds: "
            "y_component_mean.",
            "--component-mean",
        ),
    ] = False,
    parameters: Annotated[
        bool,
        _option(
            _POINT,
            "π, μ and σ of every component: pi1 y_mu1 y_sigma1 …; with --lower or --upper in fit, "
            "those of the mixture underneath, on the scale of the map.",
            "--parameters",
        ),
    ] = False,
    correlation: Annotated[
        bool,
        _option(_SPREAD, "The correlation of every two targets: u_v_correlation.", "--correlation"),
    ] = False,
    quantiles: Annotated[
        list[str] | None,
        _option(_SPREAD, "Quantiles, such as 0.05,0.5,0.95: y_q05 …", metavar="P,…"),
    ] = None,
    interval: Annotated[
        list[str] | None,
        _option(_SPREAD, "Central intervals, such as 0.9: y_lo90 y_hi90.", metavar="P,…"),
    ] = None,
    hdr: Annotated[
        list[str] | None,
        _option(
            _SPREAD,
            "Highest-density regions: y_hdr90_lo1 y_hdr90_hi1 …, as many pairs as there are "
            "components, at most 8; what a row does not use is empty.",
            metavar="P,…",
        ),
    ] = None,
    density: Annotated[
        bool,
        _option(
            _AT,
            "The density at the row's own target: y_density; with several targets the joint one.",
            "--density",
        ),
    ] = False,
    cdf: Annotated[bool, _option(_AT, "P(y ≤ the row's own target): y_cdf.", "--cdf")] = False,
    at_target: Annotated[
        list[str] | None,
        _option(
            _AT, "Ask --density and --cdf at this value instead; u=1,v=2 for several.", metavar="V"
        ),
    ] = None,
    exceed: Annotated[
        list[str] | None,
        _option(_AT, "P(y > V): y_exceed; u=1,v=2 for several targets.", metavar="V"),
    ] = None,
    marginal: Annotated[
        bool, _option(_AT, "With several targets the density of each.", "--marginal")
    ] = False,
    log: Annotated[
        bool,
        _option(
            _AT,
            "The logarithm of densities and probabilities: y_log_…; empty where one is 0.",
            "--log",
        ),
    ] = False,
    given: GivenTargets = None,
    flag_extrapolation: Annotated[
        bool,
        typer.Option(
            "--flag-extrapolation",
            help="Add the column extrapolates: 1 where a feature is outside its training range by "
            "more than a tenth of that.",
        ),
    ] = False,
    only: Annotated[
        bool, typer.Option("--only", help="Write the answers alone, without the input's columns.")
    ] = False,
    output: Output = None,
    quiet: Quiet = False,
    *,
    dialect: Dialect,
    on_bad_rows: OnBadRows,
) -> None:
    """Answer questions about y for every row of a table: one row out for each row in.

    Without a question it is --mean --interval 0.9. Means, quantiles, regions and cdfs are of each
    target on its own. With --given all of it is about the other targets, given the values of these.

    Example: mdn predict model.pt rows.csv --quantiles 0.05,0.5,0.95 > answers.csv
    """
    from mdncli.density.questions import Questions

    only_one_from_standard_input(MODEL=model, ROWS=rows)
    spare_inputs(output, model, rows)
    levels = {
        "quantiles": probabilities("--quantiles", quantiles),
        "intervals": probabilities("--interval", interval),
        "regions": probabilities("--hdr", hdr),
    }
    # Of which targets the model will say; what does not go together shows before it is opened.
    anything = {"": 0.0}
    questions = Questions(
        mean=mean,
        std=std,
        median=median,
        mode=mode,
        component_mean=component_mean,
        correlation=correlation,
        density=density,
        marginal=marginal,
        cdf=cdf,
        exceed=anything if exceed else {},
        at=anything if at_target else {},
        log=log,
        parameters=parameters,
        **levels,
    )
    density_model = open_model(model)
    known = conditions(given, density_model.schema.target_names)
    targets = known.left
    questions = replace(
        questions,
        exceed=numbers_of_targets("--exceed", exceed, targets),
        at=numbers_of_targets("--at-target", at_target, targets),
    )
    if questions == Questions():
        questions = Questions(mean=True, intervals=(0.9,))
    own = questions.own_targets(targets)
    skip = on_bad_rows == "skip"
    with recalling(density_model.origin.command, dialect):
        table = open_table(rows, dialect, skip_bad_rows=skip)
        asked = read_rows(
            density_model.schema,
            table,
            [*known.own, *own],
            skip=skip,
            no_target=_NO_TARGET if own else _NOT_GIVEN,
            complete=True,
        )
    with writing(output) as stream:
        from mdncli.density.pieces import ahead
        from mdncli.tables.writer import write_table

        answers = _Answers(density_model, questions, known, asked, only, flag_extrapolation)
        write_table(stream, ahead(answers.tables()), output)
    warn_of_left_out(table)
    warn_of_skipped(asked, "their answers are empty")
    warn_of_extrapolation(answers.extrapolating, asked.count)
    if answers.joined:
        warn(
            f"in {answers.joined} of {asked.count} rows the region has more intervals than there "
            "are columns: the closest were joined, and hold at least what was asked."
        )
    say_written(output, quiet=quiet)


class _Answers:
    """The tables to write, and what was met on the way."""

    def __init__(
        self,
        density: "ConditionalDensity",
        questions: "Questions",
        known: Conditions,
        rows: Rows,
        only: bool,
        flag: bool,
    ) -> None:
        self._density, self._questions, self._rows = density, questions, rows
        self._known, self._only, self._flag = known, only, flag
        self.extrapolating = self.joined = 0

    def tables(self) -> Iterator[dict[str, Any]]:
        """Yield the answers for one piece of the rows after another."""
        for start in range(0, max(1, self._rows.count), _ROWS_AT_ONCE):
            piece = slice(start, min(start + _ROWS_AT_ONCE, self._rows.count))
            answers = self._answer(piece)
            carried = {} if self._only else self._rows.carried(piece)
            clash = [name for name in answers if name in carried]
            if clash:
                raise UsageError(
                    f"the table has {listed(clash)} already. Write the answers alone with --only."
                )
            yield {**carried, **answers}

    def _answer(self, piece: slice) -> dict[str, Any]:
        import numpy as np

        from mdncli.density.questions import blanked

        x, y, bad = self._rows.x[piece], self._rows.y[piece], self._rows.bad[piece]
        schema, left = self._density.schema, self._known.left
        # A bad row's answers are blanked: any value will do to ask about it.
        usable = np.where(bad[:, None], [target.median for target in schema.targets], y)
        known = self._known.values(usable, schema.target_names)
        given = self._density.at_rows(x, known)
        y = y[:, [schema.target_names.index(name) for name in left]]
        columns, had_joined = self._questions.answer(given, left, y)
        self.joined += had_joined
        outside = schema.extrapolates(x) & ~bad
        self.extrapolating += int(outside.sum())
        if self._flag:
            if _EXTRAPOLATES in columns:
                raise UsageError(f"two answers would be called {_EXTRAPOLATES!r}.")
            columns[_EXTRAPOLATES] = outside.astype(np.int64)
        if not bad.any():
            return columns
        return dict(blanked(columns, bad))
