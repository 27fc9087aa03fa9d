"""Tables, schemas and datasets for the tests of columns."""

from typing import Any

import numpy as np

from mdncli.columns.dataset import Dataset, measure_schema
from mdncli.columns.kinds import Layout, NumberReader
from mdncli.columns.schema import Schema
from mdncli.columns.transforms import Transform
from mdncli.files import FileContent
from mdncli.tables.dialect import Dialect
from mdncli.tables.table import Table, read_table


def table_of_text(text: str, name: str = "t.csv", **dialect: Any) -> Table:
    """Return the table in the text of a file."""
    return read_table(FileContent(name, text.encode()), Dialect(**dialect))


def measured(
    x: np.ndarray,
    y: np.ndarray,
    features: list[str],
    targets: list[str],
    transforms: dict[str, Transform] | None = None,
    min_sigma: dict[str, float] | None = None,
) -> tuple[Schema, Dataset]:
    """Return the schema of rows of numbers, and the rows without the constant features."""
    readers = [NumberReader(name) for name in features]
    layout = Layout([*readers], targets, transforms=transforms or {}, min_sigma=min_sigma or {})
    return measure_schema("data.csv", Dataset(x, y), layout)
