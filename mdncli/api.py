"""Files from Python: models and tables by their paths."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from mdncli.density.model import ConditionalDensity
from mdncli.files import read_bytes, replacing
from mdncli.modelfile import reader as checkpoint

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


def read_table(
    path: str | os.PathLike[str],
    *,
    delimiter: str | None = None,
    decimal: str = ".",
    encoding: str = "utf-8",
    quote: str | None = '"',
    escape: str | None = None,
    comment: str | None = None,
    header: bool = True,
    na: Sequence[str] = (),
    on_bad_rows: Literal["fail", "skip"] = "fail",
) -> "pd.DataFrame":
    """Return a table as a DataFrame, read by the rules and options of the commands.

    A column whose cells are all numbers, or missing, is of float64, NaN where a cell is missing;
    any other is text, but for lists and the like in a Parquet file, which are left out. With
    `on_bad_rows="skip"` rows of another number of fields are left out.

    Raises:
        MissingInputError: there is no such file.
        DataError: it is no table.
        UsageError: an option is not what it can be.

    >>> read_table("data.csv").columns.tolist()
    ['x', 'y']
    """
    import pandas as pd

    from mdncli.tables.dialect import Dialect
    from mdncli.tables.table import read_table

    dialect = Dialect(delimiter, decimal, encoding, quote, escape, comment, header, tuple(na))
    content = read_bytes(os.fspath(path))
    table = read_table(content, os.fspath(path), dialect, skip_bad_rows=on_bad_rows == "skip")
    columns: dict[str, Any] = {}
    for name, text in table.columns.items():
        cells = table.cells(name)
        columns[name] = cells.values if cells.kind == "number" else text.to_pylist()
    return pd.DataFrame(columns)
