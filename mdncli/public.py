"""Files from Python: models and tables by their paths."""

import os
from typing import TYPE_CHECKING, Any

from mdncli import checkpoint
from mdncli.density.model import ConditionalDensity
from mdncli.files import read_bytes, replacing

if TYPE_CHECKING:
    import pandas as pd


def load(path: str | os.PathLike[str]) -> ConditionalDensity:
    """Return the model in a file that `mdn fit` or `save` wrote. It needs no PyTorch.

    Raises:
        MissingInputError: there is no such file.
        ModelFileError: it is no model file, or a damaged one.

    >>> model = load("model.pt")
    >>> model.condition([[2.5], [3.0]]).quantile([0.05, 0.95]).shape
    (2, 2)
    """
    return checkpoint.load(read_bytes(os.fspath(path)), os.fspath(path))


def save(model: ConditionalDensity, path: str | os.PathLike[str]) -> None:
    """Write a model to a file, which is replaced only by a complete one. It needs PyTorch.

    Raises:
        InputOutputError: the file cannot be written.

    >>> save(load("model.pt"), "copy.pt")
    """
    with replacing(os.fspath(path)) as stream:
        checkpoint.save(model, stream)


def read_table(path: str | os.PathLike[str]) -> "pd.DataFrame":
    """Return a CSV as a DataFrame, read by the rules of the commands.

    A column whose cells are all numbers, or empty, is of float64, NaN where a cell is empty; any
    other is text.

    Raises:
        MissingInputError: there is no such file.
        DataError: it is no table.

    >>> read_table("data.csv").columns.tolist()
    ['x', 'y']
    """
    import pandas as pd

    from mdncli.tables.description import describe_table
    from mdncli.tables.reader import parse_csv

    table = parse_csv(read_bytes(os.fspath(path)), os.fspath(path))
    columns: dict[str, Any] = {}
    for column in describe_table(table).columns:
        if column.kind == "number":
            columns[column.name] = table.usable_numbers([column.name])[0][:, 0]
        else:
            columns[column.name] = table.columns[column.name].to_pylist()
    return pd.DataFrame(columns)
