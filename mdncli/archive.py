"""What `torch.save` writes, read without PyTorch, and nothing in it is ever run.

The file is a zip archive of uncompressed entries: a pickle of plain values and, beside it, the raw
bytes of each tensor. The reader accepts that and no more: the pickle may name a handful of things,
all replaced by our own.
"""

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mdncli.errors import ModelFileError

Array = NDArray[np.float64]

# What torch.save needs, in whatever pickle protocol. Names are checked one by one later.
_OPCODES = frozenset(
    """
    PROTO MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM SETITEMS
    APPEND APPENDS BINUNICODE BINFLOAT BININT BININT1 BININT2 LONG1 NONE NEWTRUE NEWFALSE
    BINPUT LONG_BINPUT BINGET LONG_BINGET BINPERSID REDUCE STOP
    GLOBAL STACK_GLOBAL SHORT_BINUNICODE MEMOIZE FRAME
    """.split()
)
_MOST_DIMENSIONS = 3

_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8"}


def unpickled(content: bytes, source: str) -> Any:
    """Return the object of an archive: plain values, and a float64 array for each tensor.

    Args:
        content: the file.
        source: what messages call it.

    Raises:
        ModelFileError: it is no such archive, or holds anything else.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        _check_entries(archive, len(content))
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        _check_opcodes(entries["data.pkl"])
        return _Reader(entries).load()
    except ModelFileError as error:
        raise ModelFileError(f"{source}: {error}") from error
    except Exception as error:
        # A damaged pickle can fail in any way; whatever it was, the file is not a model.
        cut = " or was cut short" if content[:2] == b"PK" else ""
        raise ModelFileError(f"{source}: this is not a model file{cut}.") from error


def _check_entries(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse what could unpack to more than the file holds."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ModelFileError("the file is compressed inside, as no model file is.")
    distinct = {entry.filename for entry in entries}
    if len(distinct) < len(entries) or sum(entry.file_size for entry in entries) > size:
        raise ModelFileError("the model file is damaged: its entries overlap.")


def _check_opcodes(pickled: bytes) -> None:
    """Refuse a pickle that asks for more than dictionaries, lists, plain values and tensors.

    An opcode outside torch.save's own few could change an object that a name stands for, or make
    the unpickler reserve memory by a number in the file.
    """
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name not in _OPCODES:
            raise ModelFileError(
                f"refused: the file uses {opcode.name}, which no model file needs."
            )
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(pickled):
            raise ModelFileError("the model file is damaged.")


class _Reader(pickle.Unpickler):
    """Unpickles plain values and tensors; anything else that a pickle names is refused."""

    def __init__(self, entries: dict[str, bytes]) -> None:
        super().__init__(io.BytesIO(entries["data.pkl"]))
        self._entries = entries
        self._little = entries.get("byteorder", b"little") == b"little"

    def find_class(self, module: str, name: str) -> Any:
        allowed: dict[str, Callable[..., Any] | str] = {
            "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
            "collections.OrderedDict": OrderedDict,
            **{f"torch.{storage}": storage for storage in _DTYPES},
        }
        if f"{module}.{name}" not in allowed:
            raise ModelFileError(
                f"refused: the file names {module}.{name}, which no model file needs. It could run "
                "code of someone else's."
            )
        return allowed[f"{module}.{name}"]

    def persistent_load(self, reference: Any) -> Array:
        _, storage, key, _, _ = reference
        stored = np.dtype(_DTYPES[storage])
        if not self._little:
            stored = stored.newbyteorder(">")
        return np.frombuffer(self._entries[f"data/{key}"], dtype=stored).astype(np.float64)


def _rebuild_tensor(
    storage: Array, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> Array:
    """Return a contiguous tensor out of its storage, with the bounds checked by NumPy."""
    if len(size) > _MOST_DIMENSIONS:
        raise ModelFileError("the model file is damaged: a tensor has too many dimensions.")
    count = int(np.prod(size, dtype=object))
    contiguous = tuple(int(np.prod(size[axis + 1 :], dtype=object)) for axis in range(len(size)))
    # An empty tensor has any stride.
    if (count and tuple(stride) != contiguous) or offset < 0 or offset + count > storage.size:
        raise ModelFileError("the model file is damaged: a tensor does not fit its data.")
    return storage[offset : offset + count].reshape(size)
