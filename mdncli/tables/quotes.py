"""Whether the quotes of a CSV stand where they may, seen at the speed of NumPy.

Arrow reads `"a"b` as `ab` and takes a file whose last quote stays open. So a file goes to Arrow
only if all its quotes surround whole fields, as RFC 4180 has it; any other is read by record.
"""

import numpy as np

from mdncli.tables.text import BYTE_ORDER_MARK

_AT_ONCE = 1 << 24


def surround_fields(content: bytes, separator: str, quote: str | None) -> bool:
    """Return whether every quote opens or closes a field, or stands twice inside one.

    Counted from 0, the even quotes open and the odd ones close; a doubled quote closes and opens
    again at once.

    Args:
        content: UTF-8.
        separator: one character of ASCII.
        quote: one character of ASCII, or None where there are no quotes.
    """
    if quote is None or quote.encode() not in content:
        return True
    data = np.frombuffer(content, dtype=np.uint8)
    neighbour = np.zeros(256, dtype=bool)
    neighbour[[ord(mark) for mark in (separator, quote, "\n", "\r")]] = True
    first = len(BYTE_ORDER_MARK.encode()) if content.startswith(BYTE_ORDER_MARK.encode()) else 0
    count = 0
    for start in range(0, len(data), _AT_ONCE):
        at = np.flatnonzero(data[start : start + _AT_ONCE] == ord(quote)) + start
        opening, closing = at[count % 2 :: 2], at[1 - count % 2 :: 2]
        count += len(at)
        opening = opening[opening > first]
        closing = closing[closing < len(data) - 1]
        if not (neighbour[data[opening - 1]].all() and neighbour[data[closing + 1]].all()):
            return False
    return count % 2 == 0
