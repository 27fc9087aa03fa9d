"""What `mdn fit` is asked to learn from, as the command line says it."""

from dataclasses import dataclass, field

from mdncli.tables.dialect import Dialect


@dataclass(frozen=True)
class Request:
    """The table to learn from and the columns that the command line names, as it names them."""

    data: str
    target: list[str] | None = None
    feature: list[str] | None = None
    ignore: list[str] | None = None
    categorical: list[str] | None = None
    numeric: list[str] | None = None
    datetime: list[str] | None = None
    weight: str | None = None
    group: str | None = None
    valid_file: str | None = None
    min_sigma: list[str] | None = None
    lower: list[str] | None = None
    upper: list[str] | None = None
    folds: int | None = None
    dialect: Dialect = field(default_factory=Dialect)
    skip_bad_rows: bool = False
    command: str = ""
