"""Dialects: their values as data, their declared options, and values that cannot be."""

from dataclasses import fields

import pytest

from mdncli.errors import ParameterError
from mdncli.tables.dialect import Dialect

EVERY_VALUE = Dialect(
    delimiter=";",
    decimal=",",
    thousands=".",
    strip=("%", "kg"),
    encoding="latin-1",
    quote=None,
    escape="\\",
    comment="#",
    skip_lines=2,
    header=False,
    name_columns=True,
    format="tsv",
    na=("-9", "none"),
)


def test_default_dialect_has_no_plain_values() -> None:
    assert Dialect().to_plain() == {}
    assert Dialect.from_plain({}) == Dialect()


def test_plain_values_are_those_that_differ_from_the_defaults() -> None:
    assert Dialect(delimiter=";", header=False, na=("-9",)).to_plain() == {
        "delimiter": ";",
        "header": False,
        "na": ["-9"],
    }
    assert set(EVERY_VALUE.to_plain()) == {each.name for each in fields(Dialect)}
    assert EVERY_VALUE.to_plain()["quote"] is None


@pytest.mark.parametrize("dialect", [Dialect(), Dialect(quote="'"), EVERY_VALUE])
def test_dialect_comes_back_from_its_plain_values(dialect: Dialect) -> None:
    assert Dialect.from_plain(dialect.to_plain()) == dialect


def test_every_field_declares_its_help() -> None:
    for each in fields(Dialect):
        assert each.metadata["help"].endswith(".")
        # A switch has no value, so it has no metavar.
        assert bool(each.metadata["metavar"]) is (each.name not in ("header", "name_columns"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"escape": "ab"}, "escape is 'ab'. It must be a single character."),
        ({"escape": "\udcff"}, "escape is '\\udcff'. It must be a single character."),
        (
            {"delimiter": ";;;;"},
            "delimiter is ';;;;'. It must be one to three characters. Write a tab as \\t.",
        ),
        ({"quote": "ab"}, "quote is 'ab'. It must be a single character."),
        ({"comment": "\n"}, "comment is '\\n'. It must not be a line end or a null character."),
        ({"delimiter": "::", "escape": "\\"}, "delimiter with several characters excludes escape."),
        ({"thousands": "."}, "thousands is '.'. It must be neither the decimal point"),
        ({"thousands": "0"}, "thousands is '0'. It must be neither the decimal point"),
        ({"strip": ("1",)}, "strip is '1'. It must be a text without digits"),
        ({"strip": (" ",)}, "strip is ' '. It must be a text without digits"),
        ({"format": "xlsx"}, "format is 'xlsx': it must be one of csv, tsv, jsonl, parquet."),
        ({"skip_lines": -1}, "skip_lines is -1: it must be from 0 to 1000000000."),
        ({"skip_lines": 10**21}, f"skip_lines is {10**21}: it must be from 0 to 1000000000."),
        ({"delimiter": ";", "quote": ";"}, "delimiter and quote are both ';'."),
        ({"comment": "#", "escape": "#"}, "comment and escape are both '#'."),
        ({"delimiter": ",", "decimal": ","}, "decimal and delimiter are both ','."),
        ({"decimal": "x"}, "decimal is 'x'. It must be a point or a comma."),
        ({"encoding": "klingon"}, "encoding is 'klingon', which is unknown."),
        ({"encoding": "rot13"}, "encoding is 'rot13', which is unknown."),
        ({"encoding": "punycode"}, "encoding is 'punycode', which is unknown."),
    ],
)
def test_impossible_values_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        Dialect(**options)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("dialect", "file_name", "expected"),
    [
        (Dialect(), "data.csv", ","),
        (Dialect(), "DATA.TSV.GZ", "\t"),
        (Dialect(), "data.tsv.csv", ","),
        (Dialect(delimiter=";"), "data.tsv", ";"),
    ],
)
def test_separator_depends_on_the_name_of_the_file(
    dialect: Dialect, file_name: str, expected: str
) -> None:
    assert dialect.separator(file_name) == expected


def test_default_delimiter_must_differ_from_the_other_characters() -> None:
    with pytest.raises(ParameterError, match="quote and the delimiter are both ','"):
        Dialect(quote=",").separator("data.csv")
    assert Dialect(quote=",").separator("data.tsv") == "\t"


@pytest.mark.parametrize(
    ("encoding", "expected"), [("utf8", True), ("UTF-8-sig", True), ("latin-1", False)]
)
def test_utf8_is_recognised_by_any_of_its_names(encoding: str, expected: bool) -> None:
    assert Dialect(encoding=encoding).utf8 is expected
