"""The form in which every benchmark prints its table for the README."""

from collections.abc import Iterable, Sequence


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_minus_signs(figure: str) -> str:
    """Return a figure with the minus sign of printed text in place of each hyphen."""
    return figure.replace("-", "−")


def three_digits(value: float) -> str:
    """Return a large number, rounded to three digits, with commas between its thousands."""
    return f"{float(f'{value:.3g}'):,.0f}"
