"""`--given`: which targets are known, and their values."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from mdncli.commands.options import finite_number
from mdncli.errors import UsageError
from mdncli.text import quoted
from mdncli.types import Array

GivenTargets = Annotated[
    list[str] | None,
    typer.Option(
        "--given",
        metavar="a=1,b",
        help="With several targets: answer about the others, given that a is 1 and b has the row's "
        "own value. May be repeated.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Conditions:
    """The targets that are given.

    Attributes:
        numbers: of those given as a number, by name.
        own: those whose value each row brings.
        left: the other targets, in the model's order.
    """

    numbers: dict[str, float]
    own: list[str]
    left: list[str]

    def values(self, y: "Array", targets: list[str]) -> "dict[str, float | Array]":
        """Return all given values by name, with the rows' own from y (N, T)."""
        own = {name: y[:, targets.index(name)] for name in self.own}
        return {**self.numbers, **own}


def conditions(texts: list[str] | None, targets: list[str]) -> Conditions:
    """Return what texts such as `a=1.5,b` say is given.

    Raises:
        UsageError: a target is named twice, its value is not a number, or none is left.
        DataError: the model has no such target.
    """
    from mdncli.density.conditioning import left_after

    numbers: dict[str, float] = {}
    own: list[str] = []
    parts = list(_parts(texts or [], targets))
    left = left_after([name for name, _ in parts], targets)
    for name, number in parts:
        if name in numbers or name in own:
            raise UsageError(f"--given names {quoted(name)} twice.")
        if number is None:
            own.append(name)
        else:
            numbers[name] = finite_number(f"--given {quoted(name)}", number)
    return Conditions(numbers, own, left)


def _parts(texts: list[str], targets: list[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each name with its number as text, None for the row's own value."""
    for text in texts:
        # A target's name may hold commas and equals signs itself.
        before, _, number = text.rpartition("=")
        whole = text in targets or (before in targets and "," not in number)
        for part in [text] if whole else text.split(","):
            if part.strip() in targets:
                yield part.strip(), None
                continue
            name, equals, number = part.rpartition("=")
            yield (name.strip(), number) if equals else (part.strip(), None)
