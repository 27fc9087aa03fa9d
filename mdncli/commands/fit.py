"""`mdn fit`."""

import shlex

import typer

from mdncli.commands import fit_options as given
from mdncli.commands.console import STANDARD, write_json
from mdncli.commands.learn import run
from mdncli.commands.options import Quiet, components, noise, widths
from mdncli.commands.reading import OnBadRows, reads_tables
from mdncli.commands.request import Request
from mdncli.errors import UsageError
from mdncli.settings import Settings
from mdncli.tables.dialect import Dialect

# Of these the model file must not depend.
_NOT_OF_THE_MODEL = {"data", "output", "as_json", "quiet"}
_EXIT_STATUS = {"faults": 1, "interrupted": 130}


@reads_tables
def fit(
    context: typer.Context,
    data: given.Data,
    target: given.Target = None,
    feature: given.Feature = None,
    ignore: given.Ignore = None,
    categorical: given.Categorical = None,
    numeric: given.Numeric = None,
    datetime: given.Datetime = None,
    weight: given.Weight = None,
    group: given.Group = None,
    valid_file: given.ValidFile = None,
    min_sigma: given.MinSigma = None,
    lower: given.Lower = None,
    upper: given.Upper = None,
    cv: given.Cv = None,
    preset: given.Preset = "default",
    members: given.Members = None,
    mixtures: given.Mixtures = None,
    hidden: given.Hidden = None,
    activation: given.Activation = None,
    frequencies: given.Frequencies = None,
    covariance: given.Covariance = None,
    valid: given.Valid = None,
    steps: given.Steps = None,
    epochs: given.Epochs = None,
    patience: given.Patience = None,
    batch_size: given.BatchSize = None,
    lr: given.Lr = None,
    weight_decay: given.WeightDecay = None,
    dropout: given.Dropout = None,
    noise_x: given.NoiseX = None,
    noise_y: given.NoiseY = None,
    time_limit: given.TimeLimit = None,
    seed: given.Seed = None,
    threads: given.Threads = None,
    device: given.Device = None,
    baseline: given.Baseline = False,
    output: given.Output = "model.pt",
    as_json: given.AsJson = False,
    quiet: Quiet = False,
    *,
    dialect: Dialect,
    on_bad_rows: OnBadRows,
) -> None:
    """Learn p(y | x) from a table and write it to a model file.

    NLLs are means of -log p(y | x) in nats a row, in the units of the file: smaller is better, and
    a negative one only says that the density exceeds 1.

    Example: mdn fit data.csv --mixtures 5

    Example: mdn fit table.csv -t price --ignore id --preset best -o price.pt
    """
    if output == STANDARD and as_json:
        raise UsageError("-o - and --json both want standard output. Write one of them to a file.")
    settings = Settings.of(
        preset,
        members=members,
        mixtures=components(mixtures),
        hidden=widths(hidden),
        activation=activation,
        frequencies=frequencies,
        covariance=covariance,
        valid=valid,
        steps=steps,
        epochs=epochs,
        patience=patience,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        dropout=dropout,
        noise_x=noise("--noise-x", noise_x),
        noise_y=noise("--noise-y", noise_y),
        time_limit=time_limit,
        seed=seed,
        threads=threads,
        device=device,
        baseline=baseline or None,
    )
    request = Request(
        data,
        target,
        feature,
        ignore,
        categorical,
        numeric,
        datetime,
        weight,
        group,
        valid_file,
        min_sigma,
        lower=lower,
        upper=upper,
        folds=cv,
        command=_command_line(context),
        dialect=dialect,
        skip_bad_rows=on_bad_rows == "skip",
    )
    result = run(request, settings, output, quiet=quiet, valid_given=valid is not None)
    if as_json:
        write_json(result)
    raise typer.Exit(_EXIT_STATUS.get(result["stopped"], 0))


def _command_line(context: typer.Context) -> str:
    """Return the options that were given, as the model keeps them: with no name of a file."""
    words = ["mdn", "fit", "DATA"]
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in _NOT_OF_THE_MODEL:
            continue
        flag = max(parameter.opts, key=len)
        value = context.params[name]
        if value == parameter.default:
            continue
        if value is True:
            words.append(flag)
            continue
        for each in value if isinstance(value, list | tuple) else [value]:
            words += [flag, "FILE" if name == "valid_file" else str(each)]
    return shlex.join(words)
