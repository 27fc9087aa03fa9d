"""The roles of a table's columns, what the values of the targets are, and how parameters name both.

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
import pyarrow.compute as pc

from mdncli.columns.discrete import Wrapped, atoms_of, found_atoms, origin_of, rounding_of
from mdncli.columns.transforms import LARGEST_TARGET, Transform, transforms_by_name
from mdncli.declarations import POSITIVE
from mdncli.errors import DataError, ParameterError, parameter, warn
from mdncli.settings import FitOptions, Names
from mdncli.tables.cells import missing_markers, to_mask
from mdncli.tables.table import Table
from mdncli.text import is_unicode, listed, nearest, quoted
from mdncli.types import Array, Mask


@dataclass(frozen=True)
class Roles:
    """Which columns are features and targets, and which hold weights, groups and events, if any.

    The name of an event that is given as an array is empty.
    """

    features: list[str]
    targets: list[str]
    weight: str | None = None
    group: str | None = None
    event: str | None = None


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
    for name in ("weight", "group", "event"):
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
    event = options.event if isinstance(options.event, str | None) else ""
    return Roles(features, targets, weight, group, event)


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
        f"no feature is left beside the target {listed(targets)}. Ignored columns, the weight, the "
        "group and the event are not features."
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
        ParameterError: a column is named twice, or a format is not valid Unicode.
    """
    if isinstance(value, Mapping):
        formats = {str(name): form or "" for name, form in value.items()}
    else:
        formats = {}
        for text in _texts(value):
            name, _, form = (text, "", "") if text in names else text.partition("=")
            if name in formats:
                raise ParameterError(f"{parameter('datetime')} names {quoted(name)} twice.")
            formats[name] = form
    for form in formats.values():
        if not is_unicode(form):
            raise ParameterError(f"{parameter('datetime')}: {quoted(form)} is not valid Unicode.")
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
    chosen = numbers_of(name, value)
    for probability in chosen:
        if not 0.0 < probability < 1.0:
            raise ParameterError(
                f"{parameter(name)} is {probability:g}: it must be between 0 and 1."
            )
    return chosen


def numbers_of(name: str, value: Any, kind: str = "") -> tuple[float, ...]:
    """Return the numbers of a parameter, each once, in their order.

    Args:
        name: of the parameter.
        value: a number, a list of numbers, or texts such as `0.05,0.95`; None for none.
        kind: `target` if they must not be larger than a target may be.

    Raises:
        ParameterError: one is not a finite number.
    """
    if value is None:
        return ()
    read: Callable[[Any], float] = NamedValues(name, kind, ()).number
    chosen: list[float] = []
    for item in [value] if isinstance(value, str | Real) else value:
        for part in item.split(",") if isinstance(item, str) else [item]:
            number = read(part)
            chosen += [number] if number not in chosen else []
    return tuple(chosen)


def _texts(value: Any) -> list[str]:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [str(each) for each in value]
    return [str(value)]


def target_layout(table: Table, roles: Roles, options: FitOptions) -> dict[str, Any]:
    """Return the fields of a layout that are about the targets.

    Raises:
        ParameterError: parameters contradict each other, or need a single target.
        DataError: the values of the target do not suit them.
    """
    names = roles.targets
    numbers = {
        name: NamedValues(name, "target", names).numbers(getattr(options, name))
        for name in ("min_sigma", "lower", "upper", "censor_below", "censor_above")
    }
    for name, value in numbers["min_sigma"].items():
        if not value > 0.0:
            raise ParameterError(
                f"{parameter('min_sigma')} of {quoted(name)} is {value:g}: it must be positive."
            )
    transforms = transforms_by_name(numbers["lower"], numbers["upper"])
    if len(names) > 1:
        _require_plain_targets(table, names, options)
    else:
        alone = _SingleTarget(table, names[0], options, numbers)
        transforms = alone.transform() or transforms
        if is_given(options.event) and not transforms and alone.is_positive:
            # Times are positive, and their logarithm has no end to run into.
            transforms = transforms_by_name({names[0]: 0.0}, {})
    limits = {
        name: (numbers["censor_below"].get(name), numbers["censor_above"].get(name))
        for name in {**numbers["censor_below"], **numbers["censor_above"]}
    }
    return {"transforms": transforms, "min_sigma": numbers["min_sigma"], "censor": limits}


def _require_plain_targets(table: Table, names: Sequence[str], options: FitOptions) -> None:
    asked = {
        "target_kind": options.target_kind == "rounded",
        **{
            name: is_given(getattr(options, name))
            for name in ("atom", "event", "censor_below", "censor_above")
        },
        "period": any(name in names for name in periods_of(options, table.names)),
    }
    for name, given in asked.items():
        if given:
            value = repr("rounded") if name == "target_kind" else ""
            raise ParameterError(
                f"{parameter(name, value) if value else parameter(name)} needs a single target, "
                f"and there are {len(names)}."
            )


@dataclass(frozen=True)
class _SingleTarget:
    """The only target of a fit, and what is asked about it.

    Attributes:
        numbers: bounds and limits by parameter, each by the name of the target.
    """

    table: Table
    name: str
    options: FitOptions
    numbers: Mapping[str, Mapping[str, float]]

    def transform(self) -> dict[str, Transform]:
        """Return the transform of the target by its name, if it is more than bounds."""
        options, values = self.options, self._known_values()
        kind = options.target_kind
        atoms = atom_values(options.atom)
        period = self._period()
        lower, upper = self._number("lower"), self._number("upper")
        self._check_limits(lower, upper)
        self._check_kinds(kind, atoms, period)
        if period is not None:
            origin = origin_of(values, period) if len(values) else 0.0
            return {self.name: Wrapped(period, origin)}
        if kind != "continuous" and not atoms and len(values):
            rounding = rounding_of(values, lower, upper, always=kind == "rounded")
            if rounding is not None:
                return {self.name: rounding}
            if kind == "rounded":
                raise ParameterError(
                    f"{parameter('target_kind', repr('rounded'))}: {quoted(self.name)} was not "
                    f"recorded in steps. Use {parameter('target_kind', repr('continuous'))}."
                )
        if kind == "auto" and not atoms:
            atoms = self._found_atoms(values, lower, upper)
        if not atoms:
            return {}
        censored = self._number("censor_below"), self._number("censor_above")
        open_ends = censored[0] is not None, censored[1] is not None or is_given(options.event)
        return {self.name: atoms_of(self.name, values, atoms, lower, upper, open_ends)}

    @property
    def is_positive(self) -> bool:
        """Whether all values in the column are positive."""
        values = self.table.cells(self.name).values
        return bool((values[~np.isnan(values)] > 0.0).all())

    def _number(self, name: str) -> float | None:
        return self.numbers[name].get(self.name)

    def _known_values(self) -> Array:
        """Return the values that are there, and known, in the column."""
        values = self.table.cells(self.name).values
        known = ~np.isnan(values)
        event = self.options.event
        if isinstance(event, str):
            known &= ~events_of(self.table, event)[1]
        elif np.shape(event) == known.shape:
            known &= np.asarray(event) != 0
        below, above = self._number("censor_below"), self._number("censor_above")
        known &= True if below is None else ~(values <= below)
        known &= True if above is None else ~(values >= above)
        return values[known]

    def _found_atoms(
        self, values: Array, lower: float | None, upper: float | None
    ) -> tuple[float, ...]:
        """Return the atoms that the values show. A marker of missing values is none."""
        found = found_atoms(values)
        if np.isin(found, missing_markers(values)).any():
            return ()
        ends = -np.inf if lower is None else lower, np.inf if upper is None else upper
        return found if all(ends[0] <= atom <= ends[1] for atom in found) else ()

    def _period(self) -> float | None:
        return periods_of(self.options, self.table.names).get(self.name)

    def _check_kinds(self, kind: str, atoms: tuple[float, ...], period: float | None) -> None:
        """Check that at most one kind is asked for, with what suits it."""
        asked = {
            "period": period is not None,
            "atom": bool(atoms),
            "target_kind": kind == "rounded",
        }
        also = {
            "event": is_given(self.options.event),
            **{name: self._number(name) is not None for name in self.numbers},
        }
        both = [name for name, given in asked.items() if given]
        if period is not None:
            both += [name for name, given in also.items() if given and name != "min_sigma"]
        if len(both) > 1:
            raise ParameterError(
                f"{parameter(both[0])} and {parameter(both[1])} exclude each other for the target "
                f"{quoted(self.name)}. Leave one out."
            )

    def _check_limits(self, lower: float | None, upper: float | None) -> None:
        """Check that limits of censoring and bounds do not contradict each other."""
        below, above = self._number("censor_below"), self._number("censor_above")
        for first, second, one, other in (
            ("lower", "censor_below", lower, below),
            ("censor_above", "upper", above, upper),
            ("censor_below", "censor_above", below, above),
            ("lower", "censor_above", lower, above),
            ("censor_below", "upper", below, upper),
        ):
            if one is not None and other is not None and not one < other:
                raise ParameterError(
                    f"{parameter(first)} is {one:g} and {parameter(second)} is {other:g}: "
                    f"{parameter(first)} must be less than {parameter(second)}."
                )


def events_of(table: Table, name: str) -> tuple[Mask, Mask]:
    """Return where a column of events is 1 or true, and where it is 0 or false, each (R,)."""
    values = table.cells(name).values
    texts = pc.utf8_lower(pc.utf8_trim_whitespace(table.columns[name]))
    true, false = (to_mask(pc.equal(texts, word)) for word in ("true", "false"))
    return true | (values == 1.0), false | (values == 0.0)


def is_given(value: Any) -> bool:
    """Return whether a parameter has a value: one, which may be 0, or a list that is not empty."""
    return value is not None and not (hasattr(value, "__len__") and len(value) == 0)


def atom_values(given: Any) -> tuple[float, ...]:
    """Return the atoms that a parameter names, in rising order; see `numbers_of`."""
    return tuple(sorted(numbers_of("atom", given, "target")))


def periods_of(options: FitOptions, names: Sequence[str]) -> dict[str, float]:
    """Return the period of each column that `period` names.

    Raises:
        ParameterError: a period is not positive.
    """
    periods = NamedValues("period", "column", names).numbers(options.period)
    for name, period in periods.items():
        if not POSITIVE.holds(period):
            raise ParameterError(
                f"{parameter('period')} of {quoted(name)} is {period:g}: it must be positive."
            )
    return periods
