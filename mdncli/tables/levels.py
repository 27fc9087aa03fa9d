"""Which texts of a category are learned on their own."""

# A level of fewer rows is not learned on its own, and of more levels only the most frequent are.
_FEWEST_OF_A_LEVEL, _ROWS_A_LEVEL = 5, 20
_MOST_LEVELS = 200


def levels_of(counts: dict[str, int], rows: int) -> list[str]:
    """Return the texts that are often enough to have a level of their own, the most frequent first.

    Args:
        counts: of each text.
        rows: of the table.
    """
    often = sorted(counts, key=lambda text: (-counts[text], text))[:_MOST_LEVELS]
    return [text for text in often if counts[text] >= fewest_of_a_level(rows)]


def fewest_of_a_level(rows: int) -> int:
    """Return how many rows a level needs: five, and fewer in a table of less than a hundred."""
    return min(max(rows // _ROWS_A_LEVEL, 2), _FEWEST_OF_A_LEVEL)
