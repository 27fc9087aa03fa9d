"""Opens a model file: from its bytes to plain values and the places of its tensors.

A model file is what `torch.save` writes: a zip archive of uncompressed entries, a pickle of plain
values in one of them, and the numbers of each tensor in one of the others. Python's unpickler is
not used. The opcodes that `torch.save` needs are few, and each of them is carried out here. None of
them calls anything: a name in the pickle is only compared with the three names that are known.

Everything has a limit that is checked before memory or time is spent: the entries of the archive,
the bytes and the opcodes of the pickle, and the depth of its values. A value is used once, except a
text, so what is built is about as large as the pickle. A tensor is read when it is asked for, and
no two tensors share numbers.
"""

import io
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np

from mdncli.errors import ModelFileError
from mdncli.files import MODEL_BEGINS
from mdncli.text import printable
from mdncli.types import Array

# What begins the record of an entry in the directory of a zip archive.
_DIRECTORY_RECORD = b"PK\x01\x02"
_MOST_ENTRIES = 50_000
# The pickle of a usual model has 10 to 100 kB. It has 1.4 kB for each number feature, 18 bytes for
# each epoch, and 150 bytes and 45 opcodes for each tensor. So there is room for 2500 features, for
# 200,000 epochs, or for 1000 members in two kinds of networks.
MOST_PICKLED = 4 << 20
_MOST_OPCODES = 800_000
# A text counts as often as it is used.
_MOST_CHARACTERS = 4 * MOST_PICKLED
# The deepest values of a real file are 6 deep.
_MOST_DEPTH = 12
_MOST_DIMENSIONS = 3
_LONGEST_NAME, _LONGEST_LONG, _LARGEST_NAME = 100, 9, 1 << 31
_BYTES_A_NUMBER = 4
# The names of entries: a folder, then parts that no file system takes for another folder.
_ENTRY = re.compile(r"\w[\w.-]*/(\.?\w[\w.-]*/)*\.?\w[\w.-]*", re.ASCII)
_BYTE_ORDERS = {b"little": "<f4", b"big": ">f4"}
# The names of all opcodes, for messages.
_OPCODES = {
    code[0]: name
    for name, code in vars(pickle).items()
    if isinstance(code, bytes) and len(code) == 1
}


class _Name(Enum):
    """What a pickle may name. Nothing of that name is imported or called."""

    TENSOR = "torch._utils._rebuild_tensor_v2"
    NO_HOOKS = "collections.OrderedDict"
    FLOATS = "torch.FloatStorage"


class _Entries:
    """The entries of a zip archive.

    Attributes:
        numbers: the type of the numbers in the tensors, for NumPy.

    Raises:
        ModelFileError: an entry is compressed, lies over another one, or has an impossible name.
        Exception: it is no zip archive; a damaged one can raise any exception.
    """

    def __init__(self, content: bytes) -> None:
        if not content.startswith(MODEL_BEGINS):
            raise ModelFileError("this is not a model file.")
        if content.count(_DIRECTORY_RECORD) > _MOST_ENTRIES:
            _damaged("it has too many entries")
        self._archive = zipfile.ZipFile(io.BytesIO(content))
        entries = self._archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ModelFileError("the entries of the file are compressed, as in no model file.")
        _require_apart(entries, len(content))
        folders = {entry.filename.partition("/")[0] for entry in entries}
        if len(folders) != 1 or not all(_ENTRY.fullmatch(entry.filename) for entry in entries):
            _damaged("the name of an entry is impossible")
        self._sizes = {entry.filename.partition("/")[2]: entry.file_size for entry in entries}
        [self._folder] = folders
        order = b"little"
        if "byteorder" in self._sizes:
            order = self.read("byteorder") if self.size("byteorder") <= len(order) else b""
        if order not in _BYTE_ORDERS:
            _damaged("its byte order is unknown")
        self.numbers = _BYTE_ORDERS[order]

    def size(self, name: str) -> int:
        """Return how many bytes an entry has; -1 if there is none of this name."""
        return self._sizes.get(name, -1)

    def read(self, name: str) -> bytes:
        """Return the bytes of an entry; a wrong checksum raises an exception."""
        return self._archive.read(f"{self._folder}/{name}")


def _require_apart(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse entries of one name, those that lie over each other, and those beyond the file."""
    places = sorted((each.header_offset, each.header_offset + each.file_size) for each in entries)
    over = any(end > start for (_, end), (start, _) in pairwise(places))
    beyond = any(end > size for _, end in places)
    distinct = {entry.filename for entry in entries}
    packed = any(entry.compress_size != entry.file_size for entry in entries)
    if over or beyond or packed or len(distinct) < len(entries):
        _damaged("its entries overlap")


@dataclass(frozen=True)
class _Storage:
    """The numbers of a tensor: which entry holds them, and how many they are."""

    entry: str
    count: int


@dataclass(frozen=True)
class StoredTensor:
    """A dense tensor of float32 numbers that is not read yet.

    Attributes:
        shape: of at most three dimensions.
    """

    shape: tuple[int, ...]
    _storage: _Storage
    _offset: int
    _entries: _Entries

    def read(self) -> Array:
        """Return its values in float64, in its shape.

        Raises:
            ValueError: a value is not finite, or the bytes are damaged.
        """
        try:
            content = self._entries.read(self._storage.entry)
        except Exception as error:
            raise ValueError("cannot be read") from error
        count, start = math.prod(self.shape), self._offset * _BYTES_A_NUMBER
        stored = np.frombuffer(content, self._entries.numbers, count, start if count else 0)
        # Turning a signalling NaN into float64 would raise a warning.
        if not np.isfinite(stored).all():
            raise ValueError("contains a value that is not finite")
        return stored.astype(np.float64).reshape(self.shape)


def plain_values(content: bytes) -> Any:
    """Return the object that `torch.save` wrote: plain values, and a `StoredTensor` for a tensor.

    Raises:
        ModelFileError: it is not such a file, it contains anything else, or it exceeds a limit.
    """
    try:
        entries = _Entries(content)
        if entries.size("data.pkl") > MOST_PICKLED:
            raise ModelFileError(
                f"refused: the description of the model in it is larger than {MOST_PICKLED:,} "
                "bytes, which no model file needs."
            )
        return _Builder(entries).build()
    except ModelFileError:
        raise
    except Exception as error:
        cut = " or was cut short" if content.startswith(MODEL_BEGINS[:2]) else ""
        raise ModelFileError(f"this is not a model file{cut}.") from error


def _damaged(fault: str) -> NoReturn:
    raise ModelFileError(f"the model file is damaged: {fault}.")


# What may be in a list or a dictionary.
_PLAIN = (str, float, int, bool, type(None), list, dict, StoredTensor)


def _plain(value: Any) -> Any:
    """Return a value for a list or a dictionary: files of the first formats have tuples for lists.

    Elsewhere a tuple is a part of a tensor.
    """
    if type(value) is tuple and all(type(each) in _PLAIN for each in value):
        return list(value)
    if type(value) not in _PLAIN:
        _damaged("a list or a dictionary holds an impossible value")
    return value


class _Builder:
    """Carries out the opcodes of a pickle on a stack, as Python's unpickler does.

    Beside each value on the stack stands its depth. A list or a dictionary can be changed only on
    top of the stack, before it becomes a part of another one, so its depth is final by then.
    """

    def __init__(self, entries: _Entries) -> None:
        self._entries = entries
        self._pickled = entries.read("data.pkl")
        self._at = 0
        self._stack: list[Any] = []
        self._depths: list[int] = []
        self._marks: list[int] = []
        # Texts and names; None for any other value, which may not be used twice.
        self._memo: list[Any] = []
        self._used: set[str] = set()
        self._characters = 0

    def build(self) -> Any:
        """Return the value that the pickle describes.

        Raises:
            ModelFileError: it holds an opcode, a name or a value that no model file needs.
            IndexError, ValueError, struct.error: it is damaged.
        """
        for _ in range(_MOST_OPCODES):
            code = self._pickled[self._at]
            self._at += 1
            step = _STEPS.get(code)
            if step is None:
                return self._end(code)
            step(self)
        raise ModelFileError(
            f"refused: the model file has more than {_MOST_OPCODES:,} opcodes, which no model "
            "file needs."
        )

    def _end(self, code: int) -> Any:
        if code == pickle.STOP[0]:
            if len(self._stack) != 1 or self._marks or self._at != len(self._pickled):
                _damaged("its pickle does not end as it should")
            return self._stack[0]
        if code not in _OPCODES:
            _damaged("it has an unknown opcode")
        raise ModelFileError(f"refused: the file uses {_OPCODES[code]}, which no model file needs.")

    def _take(self, count: int) -> bytes:
        """Return the next bytes of the pickle."""
        start, self._at = self._at, self._at + count
        if self._at > len(self._pickled):
            _damaged("its pickle was cut short")
        return self._pickled[start : self._at]

    def _push(self, value: Any, depth: int = 0) -> None:
        self._stack.append(value)
        self._depths.append(depth)

    def _require(self, count: int) -> None:
        """Refuse a stack with fewer values above the last mark."""
        if len(self._stack) - (self._marks[-1] if self._marks else 0) < count:
            _damaged("its pickle lacks a value")

    def _pop(self, count: int) -> tuple[list[Any], int]:
        """Return the last values on the stack, without them on it, and their depth."""
        self._require(count)
        start = len(self._stack) - count
        values, depth = self._stack[start:], max(self._depths[start:], default=0)
        del self._stack[start:], self._depths[start:]
        return values, depth

    def _above_mark(self) -> tuple[list[Any], int]:
        """Return the values above the last mark, without the mark, and their depth."""
        values, depth = self._pop(len(self._stack) - self._marks[-1])
        self._marks.pop()
        return values, depth

    def _deeper(self, depth: int) -> int:
        if depth >= _MOST_DEPTH:
            _damaged("its values are nested too deeply")
        return depth + 1

    def _protocol(self) -> None:
        if self._take(1) != b"\x02":
            _damaged("its pickle has an unknown protocol")

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _append(self) -> None:
        """Add the value on top of the stack to the list below it."""
        self._require(2)
        value, depth = self._stack.pop(), self._depths.pop()
        target = self._stack[-1]
        if type(target) is not list:
            _damaged("it adds an item to a value that is no list")
        target.append(_plain(value))
        if depth >= self._depths[-1]:
            self._depths[-1] = self._deeper(depth)

    def _extend(self, values: list[Any], depth: int) -> None:
        """Add values to the list on top of the stack."""
        self._require(1)
        target = self._stack[-1]
        if type(target) is not list:
            _damaged("it adds items to a value that is no list")
        target.extend(_plain(value) for value in values)
        self._depths[-1] = max(self._depths[-1], self._deeper(depth))

    def _set(self, values: list[Any], depth: int) -> None:
        """Add names and values, in turn, to the dictionary on top of the stack."""
        self._require(1)
        target = self._stack[-1]
        if type(target) is not dict or len(values) % 2:
            _damaged("it adds items to a value that is no dictionary")
        for name, value in zip(values[::2], values[1::2], strict=True):
            # Whole numbers of any size could all have the same hash.
            known = type(name) is str or (type(name) is int and 0 <= name <= _LARGEST_NAME)
            if not known or name in target:
                _damaged("a dictionary holds an impossible name")
            target[name] = _plain(value)
        self._depths[-1] = max(self._depths[-1], self._deeper(depth))

    def _tuple(self, values: list[Any], depth: int) -> None:
        self._push(tuple(values), self._deeper(depth))

    def _text(self) -> None:
        content = self._take(*struct.unpack("<I", self._take(4)))
        try:
            self._push_text(content.decode("utf-8"))
        except UnicodeDecodeError:
            _damaged("a text in it is not valid Unicode")

    def _push_text(self, text: str) -> None:
        self._characters += len(text)
        if self._characters > _MOST_CHARACTERS:
            _damaged("it uses long texts too often")
        self._push(text)

    def _long(self) -> None:
        [size] = self._take(1)
        if size > _LONGEST_LONG:
            _damaged("a whole number in it is too large")
        self._push(int.from_bytes(self._take(size), "little", signed=True))

    def _put(self, number: int) -> None:
        self._require(1)
        if number != len(self._memo):
            _damaged("its pickle numbers its values in a wrong order")
        value = self._stack[-1]
        self._memo.append(value if isinstance(value, str | _Name) else None)

    def _get(self, number: int) -> None:
        value = self._memo[number]
        if isinstance(value, str):
            self._push_text(value)
        elif value is None:
            _damaged("it uses a value twice")
        else:
            self._push(value)

    def _name(self) -> None:
        words = []
        for _ in range(2):
            end = self._pickled.index(b"\n", self._at, self._at + _LONGEST_NAME)
            words.append(self._take(end + 1 - self._at)[:-1].decode("ascii"))
        name = ".".join(words)
        if name not in _KNOWN_NAMES:
            raise ModelFileError(
                f"refused: the file names {printable(name)}, which no model file needs. Loading "
                "it could run unknown code."
            )
        self._push(_Name(name))

    def _reference(self) -> None:
        """Replace what `torch.save` writes for the numbers of a tensor by their storage."""
        [[reference], _] = self._pop(1)
        if type(reference) is not tuple or len(reference) != 5:
            _damaged("a tensor has no data")
        what, kind, key, place, count = reference
        known = what == "storage" and kind is _Name.FLOATS
        texts = isinstance(key, str) and isinstance(place, str)
        if not (known and texts and type(count) is int) or key in self._used:
            _damaged("the data of a tensor are impossible, or used twice")
        self._used.add(key)
        if self._entries.size(f"data/{key}") != count * _BYTES_A_NUMBER:
            _damaged("the data of a tensor have a wrong size")
        self._push(_Storage(f"data/{key}", count))

    def _rebuild(self) -> None:
        """Replace a name and its arguments by what they stand for."""
        [[name, arguments], _] = self._pop(2)
        if name is _Name.NO_HOOKS and arguments == ():
            self._push(_NoHooks)
        elif name is _Name.TENSOR and type(arguments) is tuple and len(arguments) == 6:
            self._push(self._tensor(*arguments))
        else:
            _damaged("it holds something that is neither a plain value nor a tensor")

    def _tensor(
        self, storage: Any, offset: Any, size: Any, stride: Any, gradient: Any, hooks: Any
    ) -> StoredTensor:
        whole = [offset, *(size if type(size) is tuple else [None])]
        if not all(type(number) is int and number >= 0 for number in whole):
            _damaged("the shape of a tensor is impossible")
        if len(size) > _MOST_DIMENSIONS:
            _damaged("a tensor has too many dimensions")
        plain = isinstance(storage, _Storage) and type(gradient) is bool and hooks is _NoHooks
        count = math.prod(size)
        contiguous = tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))
        # An empty tensor has any stride.
        if not plain or (count and stride != contiguous) or offset + count > storage.count:
            _damaged("a tensor does not fit its data")
        return StoredTensor(size, storage, offset, self._entries)


class _NoHooks:
    """Stands for the empty dictionary of hooks that belongs to every tensor."""


_KNOWN_NAMES = {name.value for name in _Name}


def _number(code: str) -> Callable[[_Builder], None]:
    """Return a step that pushes a number of a fixed size, as `struct` reads it."""
    unpack, size = struct.Struct(code).unpack, struct.calcsize(code)
    return lambda builder: builder._push(*unpack(builder._take(size)))


# What each opcode does. There is no other way to do anything.
_STEPS: dict[int, Callable[[_Builder], None]] = {
    code[0]: step
    for code, step in [
        (pickle.PROTO, _Builder._protocol),
        (pickle.MARK, _Builder._mark),
        (pickle.NONE, lambda builder: builder._push(None)),
        (pickle.NEWTRUE, lambda builder: builder._push(True)),
        (pickle.NEWFALSE, lambda builder: builder._push(False)),
        (pickle.BININT1, _number("B")),
        (pickle.BININT2, _number("<H")),
        (pickle.BININT, _number("<i")),
        (pickle.LONG1, _Builder._long),
        (pickle.BINFLOAT, _number(">d")),
        (pickle.BINUNICODE, _Builder._text),
        (pickle.EMPTY_LIST, lambda builder: builder._push([], 1)),
        (pickle.EMPTY_DICT, lambda builder: builder._push({}, 1)),
        (pickle.EMPTY_TUPLE, lambda builder: builder._push((), 1)),
        (pickle.TUPLE1, lambda builder: builder._tuple(*builder._pop(1))),
        (pickle.TUPLE2, lambda builder: builder._tuple(*builder._pop(2))),
        (pickle.TUPLE3, lambda builder: builder._tuple(*builder._pop(3))),
        (pickle.TUPLE, lambda builder: builder._tuple(*builder._above_mark())),
        (pickle.APPEND, _Builder._append),
        (pickle.APPENDS, lambda builder: builder._extend(*builder._above_mark())),
        (pickle.SETITEM, lambda builder: builder._set(*builder._pop(2))),
        (pickle.SETITEMS, lambda builder: builder._set(*builder._above_mark())),
        (pickle.BINPUT, lambda builder: builder._put(*builder._take(1))),
        (pickle.LONG_BINPUT, lambda builder: builder._put(*struct.unpack("<I", builder._take(4)))),
        (pickle.BINGET, lambda builder: builder._get(*builder._take(1))),
        (pickle.LONG_BINGET, lambda builder: builder._get(*struct.unpack("<I", builder._take(4)))),
        (pickle.GLOBAL, _Builder._name),
        (pickle.BINPERSID, _Builder._reference),
        (pickle.REDUCE, _Builder._rebuild),
    ]
}
