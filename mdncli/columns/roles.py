"""The roles of a table's columns, and how parameters name columns and give values for them.

A parameter names columns by one text or several. A text that is a column's name means that column;
any other text is split at its commas. So names may hold commas themselves.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pyarrow as pa

from mdncli.columns.transforms import LARGEST_TARGET
from mdncli.errors import DataError, ParameterError, parameter, warn
from mdncli.settings import FitOptions, Names
from mdncli.tables.table import Table
from mdncli.text import listed, nearest, quoted


@dataclass(frozen=True)
class Roles:
    """Which columns are features, which are targets, and which hold weights and groups, if any."""

    features: list[str]
    targets: list[str]
    weight: str | None = None
    group: str | None = None


def choose_roles(table: Table, options: FitOptions) -> Roles:
    """Return the roles of a table's columns.

    By default the last column is the target and all others are features.

    Raises:
        DataError: a named column does not exist, or no feature is left.
        ParameterError: a column would have two roles.
    """
    targets, features, ignored = (
        column_names(name, getattr(options, name), table.names)
        for name in ("target", "feature", "ignore")
    )
    for name in ("weight", "group"):
        column = getattr(options, name)
        if isinstance(column, str):
            table.require([column])
            if column in (*targets, *features):
                raise ParameterError(
                    f"{quoted(column)} is used by {parameter(name)}, so it cannot also be a target "
                    "or a feature."
                )
            ignored = [*ignored, column]
    table.require([*targets, *features, *ignored])
    left = [name for name in table.names if name not in ignored]
    targets = targets or left[-1:]
    _require_one_role(targets, features, ignored)
    features = features or [name for name in left if name not in targets]
    if not features:
        raise DataError(f"{table.source}: {_why_no_feature(table, targets)}")
    for note in [*table.notes, *_doubts(table)]:
        warn(note)
    weight, group = (
        each if isinstance(each, str) else None for each in (options.weight, options.group)
    )
    return Roles(features, targets, weight, group)


def _doubts(table: Table) -> list[str]:
    """Return what the user may not know of how a file was read."""
    doubts = []
    of_text = table.file is not None and all(
        column.type == pa.string() for column in table.originals.values()
    )
    if of_text and table.dialect.header and all(map(_is_number, table.names)):
        doubts.append(
            f"Every name in the header is a number: {listed(table.names, 4)}. If the first row is "
            f"data, use {parameter('header', 'False')}."
        )
    for text in table.dialect.na:
        if not table.holds(text):
            doubts.append(f"No cell matches {parameter('na', repr(text))}.")
    return doubts


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _why_no_feature(table: Table, targets: Sequence[str]) -> str:
    if len(table.names) == 1:
        return (
            f"the only column is {quoted(table.names[0])}, and a table needs a target and a "
            "feature. If its cells are separated by another mark, set "
            f"{parameter('delimiter')}."
        )
    return (
        f"no feature is left beside the target {listed(targets)}. Ignored columns, the weight and "
        "the group are not features."
    )


def _require_one_role(targets: list[str], features: list[str], ignored: list[str]) -> None:
    target = f"the target ({parameter('target')}, by default the last column)"
    feature, ignore = f"a feature ({parameter('feature')})", f"left out ({parameter('ignore')})"
    for first, second, roles in (
        (targets, features, f"{target} and {feature}"),
        (targets, ignored, f"{target} and {ignore}"),
        (features, ignored, f"{feature} and {ignore}"),
    ):
        both = [name for name in first if name in second]
        if both:
            raise ParameterError(f"{listed(both)} cannot be both {roles}.")


def column_names(name: str, value: Names, names: Sequence[str]) -> list[str]:
    """Return the names that a parameter's value stands for, each once.

    Args:
        name: of the parameter.
        value: one text or several.
        names: of the columns.

    Raises:
        ParameterError: a text is empty.
    """
    chosen: list[str] = []
    for text in _texts(value):
        parts = [text] if text in names else [part.strip() for part in text.split(",")]
        if not any(parts):
            raise ParameterError(f"{parameter(name)} is empty: name a column, or leave it out.")
        chosen += [part for part in parts if part]
    return list(dict.fromkeys(chosen))


def date_formats(value: Names | Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    """Return the date format of each column that `datetime` names; empty for ISO 8601.

    Args:
        value: formats by name, or texts of the form `COL` or `COL=FORMAT`.
        names: of the columns.

    Raises:
        ParameterError: a column is named twice.
    """
    if isinstance(value, Mapping):
        return {str(name): form or "" for name, form in value.items()}
    formats: dict[str, str] = {}
    for text in _texts(value):
        name, _, form = (text, "", "") if text in names else text.partition("=")
        if name in formats:
            raise ParameterError(f"{parameter('datetime')} names {quoted(name)} twice.")
        formats[name] = form
    return formats


@dataclass(frozen=True)
class NamedValues:
    """A parameter that gives values by the names of columns.

    Attributes:
        parameter: its name.
        kind: what the columns are, `feature` or `target`.
        names: of the columns.
    """

    parameter: str
    kind: str
    names: Sequence[str]

    def values(self, given: Any, form: str = "NAME=VALUE") -> dict[str, Any]:
        """Return the value of each named column.

        Args:
            given: a mapping; or texts such as `a=1,b=red`, which give texts as values.
            form: of a text, for messages.

        Raises:
            ParameterError: a text has another form, or a column is named twice.
            DataError: there is no such column.
        """
        if isinstance(given, Mapping):
            for name in given:
                self.require(str(name))
            return {str(name): value for name, value in given.items()}
        values: dict[str, Any] = {}
        for text in _texts(given):
            for part in self._parts(text):
                name, equals, value = self._split(part)
                if not equals:
                    raise ParameterError(
                        f"{parameter(self.parameter)} {quoted(part)}: write it as {form}."
                    )
                self.require(name)
                self._require_new(name, values)
                values[name] = value.strip()
        return values

    def _parts(self, text: str) -> list[str]:
        """Return a text such as `a=1,b=2` split at the commas that are not part of a name."""
        if text.rpartition("=")[0] in self.names:
            return [text]
        with_commas = sorted((name for name in self.names if "," in name), key=len, reverse=True)
        parts, start, at = [], 0, 0
        while at < len(text):
            begins = not text[start:at].strip()
            name = next((n for n in with_commas if begins and text.startswith(f"{n}=", at)), None)
            if name:
                at += len(name)
            elif text[at] == ",":
                parts.append(text[start:at])
                start = at = at + 1
            else:
                at += 1
        return [*parts, text[start:]]

    def numbers(self, given: Any) -> dict[str, float]:
        """Return the number of each named column; a single column need not be named.

        Args:
            given: a number, a mapping, or texts such as `1` or `a=1,b=2`; None for none.

        Raises:
            ParameterError: a value is not a finite number, or as for `values`.
            DataError: as for `values`.
        """
        if given is None:
            return {}
        if isinstance(given, Real):
            return self._number_of_all(float(given))
        if not isinstance(given, Mapping):
            texts = _texts(given)
            if len(texts) == len(self.names) == 1 and "=" not in texts[0]:
                return {self.names[0]: self.number(texts[0])}
            if len(texts) == 1 and not {"=", ","} & set(texts[0]):
                example = ",".join(f"{name}={texts[0]}" for name in self.names)
                raise ParameterError(
                    f"{parameter(self.parameter)} {quoted(texts[0])}: there are {len(self.names)} "
                    f"{self.kind}s. Name them: {parameter(self.parameter, repr(example))}."
                )
            given = self.values(texts, "NAME=NUMBER")
        values = self.values(given)
        return {name: self.number(value, f" of {quoted(name)}") for name, value in values.items()}

    def _number_of_all(self, number: float) -> dict[str, float]:
        return dict.fromkeys(self.names, self.number(number))

    def number(self, value: Any, of: str = "") -> float:
        """Return a value as a finite number; `of` says in messages what it is the value of.

        Raises:
            ParameterError: it is not a finite number, or too large for a target.
        """
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        limited = self.kind == "target"
        if not math.isfinite(number) or (limited and abs(number) > LARGEST_TARGET):
            shown = quoted(value) if isinstance(value, str) else repr(value)
            ends = f"number from {-LARGEST_TARGET:g} to {LARGEST_TARGET:g}"
            raise ParameterError(
                f"{parameter(self.parameter)}{of} is {shown}: it must be a "
                f"{ends if limited and math.isfinite(number) else 'finite number'}."
            )
        return number

    def require(self, name: str) -> None:
        """Check that there is such a column.

        Raises:
            DataError: there is none; the message suggests the most similar name.
        """
        if name not in self.names:
            raise DataError(
                f"{parameter(self.parameter)}: there is no {self.kind} {quoted(name)}."
                f"{nearest(name, self.names)} The {self.kind}s are: {listed(self.names)}."
            )

    def _require_new(self, name: str, values: Mapping[str, Any]) -> None:
        if name in values:
            raise ParameterError(f"{parameter(self.parameter)} names {quoted(name)} twice.")

    def _split(self, part: str) -> tuple[str, str, str]:
        """Return a text split at the first = after a name; at its last one if there is no name."""
        for position, character in enumerate(part):
            if character == "=" and part[:position].strip() in self.names:
                return part[:position].strip(), "=", part[position + 1 :]
        name, equals, value = part.rpartition("=")
        return name.strip(), equals, value

    def known_values(self, given: Any) -> dict[str, Any]:
        """Return the known value of each named target: a number, (N,) numbers, or None.

        None stands for the row's own value.

        Args:
            given: a mapping; or texts such as `a=1.5,b`, or a list of names.

        Raises:
            ParameterError: a value is not a finite number, or a target is named twice.
            DataError: there is no such target.
        """
        if isinstance(given, Mapping):
            values = self.values(given)
            return {name: self._known(name, value) for name, value in values.items()}
        known: dict[str, Any] = {}
        for text in _texts(given or ()):
            before, _, number = text.rpartition("=")
            whole = text in self.names or (before in self.names and "," not in number)
            for part in [text] if whole else text.split(","):
                name, value = part.strip(), None
                if name not in self.names and "=" in part:
                    name, _, value = (each.strip() for each in part.rpartition("="))
                self.require(name)
                self._require_new(name, known)
                known[name] = self._known(name, value)
        return known

    def _known(self, name: str, value: Any) -> Any:
        if value is None or np.ndim(value):
            return value
        return self.number(value, f" of {quoted(name)}")


def probabilities(name: str, value: Any) -> tuple[float, ...]:
    """Return the probabilities of a parameter, each once.

    Args:
        name: of the parameter.
        value: a number, a list of numbers, or texts such as `0.05,0.95`; None for none.

    Raises:
        ParameterError: one is not a number between 0 and 1.
    """
    if value is None:
        return ()
    if isinstance(value, Real):
        value = [value]
    read: Callable[[Any], float] = NamedValues(name, "", ()).number
    chosen: list[float] = []
    for item in [value] if isinstance(value, str) else value:
        for part in item.split(",") if isinstance(item, str) else [item]:
            probability = read(part)
            if not 0.0 < probability < 1.0:
                raise ParameterError(
                    f"{parameter(name)} is {probability:g}: it must be between 0 and 1."
                )
            chosen += [probability] if probability not in chosen else []
    return tuple(chosen)


def _texts(value: Any) -> list[str]:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [str(each) for each in value]
    return [str(value)]
