"""What watches a fit: its epochs, its reasons to stop, and checkpoints to go on from."""

import io
import json
import math
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mdncli.errors import DataError, InputOutputError, parameter, warn
from mdncli.files import read_file, replacing
from mdncli.learning.processes import Processes
from mdncli.text import listed

_FORMAT = "mdncli.checkpoint.1"
_PLAIN = "plain"


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch, for a progress display.

    Attributes:
        stage: what is trained; empty for a single network, otherwise some members of a kind, the
            model as a whole, the least-squares baseline or a trial with another number of
            components.
        epoch: from 1.
        epochs: the largest number of epochs.
        nll_train: mean over the training rows during the epoch, in nats per row, in the units of
            the file.
        nll_valid: mean over the validation rows after the epoch, of the averaged weights; NaN if
            there are no such rows.
        reference: the NLL of the marginal reference on the validation rows, or on the training rows
            if there are no validation rows.
        seconds: of learning so far.
        fold: the name of the fold of a cross-validation; empty otherwise.
    """

    stage: str
    epoch: int
    epochs: int
    nll_train: float
    nll_valid: float
    reference: float
    seconds: float
    fold: str = ""


class Monitor:
    """Measures the time of learning, passes epochs on, and knows when learning must stop.

    Threads may share it.

    Args:
        progress: is called with every epoch.
        stop: returns True once learning must stop.
        time_limit: seconds after which learning must stop; None for no limit.
        checkpoint: keeps the state of the loops; None to keep none.
        fold: of a cross-validation; empty otherwise.
        processes: those that learn together, which stop when the first one must.
    """

    def __init__(
        self,
        progress: Callable[[Epoch], None] | None = None,
        stop: Callable[[], bool] | None = None,
        time_limit: float | None = None,
        checkpoint: "Checkpoint | None" = None,
        fold: str = "",
        processes: Processes | None = None,
    ) -> None:
        self._processes = processes or Processes()
        self._progress, self._stop, self._time_limit = progress, stop, time_limit
        self._checkpoint, self._fold = checkpoint, fold
        self._started = perf_counter()
        self._lock = threading.Lock()

    def seconds(self) -> float:
        """Return the seconds since learning began."""
        return perf_counter() - self._started

    def slot(self, name: str) -> "Slot | None":
        """Return where the loop of this name keeps its state; None if no state is kept."""
        return None if self._checkpoint is None else Slot(self._checkpoint, self._fold + name)

    def show(self, epoch: Epoch) -> None:
        """Pass an epoch on."""
        if self._progress is not None:
            with self._lock:
                self._progress(epoch)

    def reason_to_stop(self) -> str:
        """Return why learning must stop now, `interrupted` or `time`; empty if it need not."""
        stopped = self._stop is not None and self._stop()
        late = bool(self._time_limit) and self.seconds() > (self._time_limit or 0.0)
        [stopped, late] = self._processes.first(np.array([stopped, late]))
        return "interrupted" if stopped else "time" if late else ""


@dataclass(frozen=True)
class LoopState:
    """The state of a training loop.

    Attributes:
        plain: numbers, texts and lists, by name.
        tensors: by name.
    """

    plain: dict[str, Any]
    tensors: dict[str, Tensor]


class Checkpoint:
    """Keeps the states of the training loops of a fit, and writes them to a file now and then.

    A fit that is run again splits the rows, learns the memory and weighs the rungs as before. Only
    the loops take long, and each goes on from its own state. The file is an archive of arrays and
    of one JSON text, so nothing in it is ever run.

    Args:
        path: of the file.
        every: seconds of a loop between two writes.
        identity: what the model depends on, by what messages call it.
        resume: whether to go on from the states in the file.

    Raises:
        MissingInputError: there is no such file to go on from.
        DataError: it is no checkpoint, or that of another fit.
    """

    def __init__(
        self, path: str, every: float, identity: Mapping[str, Any], *, resume: bool = False
    ) -> None:
        self._path, self._every, self._identity = path, every, dict(identity)
        self._lock = threading.Lock()
        self._states: dict[str, LoopState] = {}
        self._written = perf_counter()
        if resume:
            self._states = self._read()

    def kept(self, name: str) -> LoopState | None:
        """Return the state that a loop goes on from; None for a loop that starts."""
        return self._states.get(name)

    def keep(self, name: str, state: LoopState) -> None:
        """Keep the state of a loop."""
        with self._lock:
            self._states[name] = state

    def is_due(self, since: float) -> bool:
        """Return whether a state that was written then should be written again."""
        return perf_counter() - since >= self._every

    @property
    def written(self) -> float:
        """When the file was last written, or when the fit began."""
        return self._written

    def write(self) -> None:
        """Write all states that are kept; if that fails, warn, and do not try again."""
        try:
            self._write()
        except InputOutputError as error:
            self._every = math.inf
            warn(f"{error.message} Learning goes on, but its state is not kept.")

    def _write(self) -> None:
        with self._lock:
            plain = {name: state.plain for name, state in self._states.items()}
            content = {"format": _FORMAT, "identity": self._identity, "loops": plain}
            arrays: dict[str, Any] = {
                f"{name}/{part}": tensor.numpy()
                for name, state in self._states.items()
                for part, tensor in state.tensors.items()
            }
            arrays[_PLAIN] = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
            with replacing(self._path) as stream, zipfile.ZipFile(stream, "w") as archive:
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, array, allow_pickle=False)
            self._written = perf_counter()

    def _read(self) -> dict[str, LoopState]:
        file = read_file(self._path)
        try:
            with np.load(io.BytesIO(file.content), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            content = json.loads(arrays.pop(_PLAIN).tobytes())
            right = content["format"] == _FORMAT
            identity, loops = content["identity"], content["loops"]
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{file.name}: this is not a checkpoint of mdn.") from error
        if not right:
            raise DataError(f"{file.name}: this is a checkpoint of another version of mdn.")
        self._require_same(file.name, identity)
        states = {name: LoopState(plain, {}) for name, plain in loops.items()}
        for name, array in arrays.items():
            loop, _, part = name.rpartition("/")
            states[loop].tensors[part] = torch.from_numpy(array)
        return states

    def _require_same(self, name: str, identity: Mapping[str, Any]) -> None:
        here = json.loads(json.dumps(self._identity))
        keys = [*here, *(key for key in identity if key not in here)]
        differ = [key for key in keys if here.get(key) != identity.get(key)]
        if differ:
            raise DataError(
                f"{name}: this is the checkpoint of another fit: {listed(differ)} "
                f"{'differs' if len(differ) == 1 else 'differ'}. Fit without "
                f"{parameter('resume')}, or with what was given before."
            )


class Slot:
    """Where one training loop keeps its state.

    Args:
        checkpoint: of the fit.
        name: of the loop, which no other loop of the fit has.
    """

    def __init__(self, checkpoint: Checkpoint, name: str) -> None:
        self._checkpoint, self._name = checkpoint, name
        self._since = checkpoint.written

    def kept(self) -> LoopState | None:
        """Return the state to go on from; None to start."""
        return self._checkpoint.kept(self._name)

    def keep(self, state: Callable[[], LoopState]) -> None:
        """Keep a state and write it, if it is time to."""
        if self._checkpoint.is_due(self._since):
            self.close(state)
            self._checkpoint.write()
            self._since = self._checkpoint.written

    def close(self, state: Callable[[], LoopState]) -> None:
        """Keep the last state; the next write of any loop writes it."""
        self._checkpoint.keep(self._name, state())
