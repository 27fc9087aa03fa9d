"""How a model came to be: its training and its origin."""

from dataclasses import dataclass, field
from typing import Any

from mdncli.density.report import MemberReport


@dataclass(frozen=True)
class TrainingRecord:
    """How training went; NLLs are in nats a row, in the units of the file.

    Attributes:
        rows: that were learned from or held out.
        rows_valid: of them, held out for early stopping, by whichever member.
        epochs: trained.
        best_epochs: of each member, the epoch whose weights it keeps, from 1.
        stopped: why training ended: `epochs`, `patience`, `time`, `interrupted` or `faults`.
        faults: times that NaN, inf or a blown-up loss was met and undone.
        nll_train: of the model on the rows that it learned from.
        nll_valid: on the rows held out, each by the member that held it out; of the model where
            all members held out the same rows.
        history: `nll_train` and `nll_valid` by epoch, as they were measured during training.
        reference: NLL of the unconditional mixture on the rows of `nll_train` and `nll_valid`.
        components: the report on each member's components.
        tried: with `-k auto`, the mean held-out NLL of each number of components.
        cv: the scores of each fold of a cross-validation that came before; none without one.
    """

    rows: int
    rows_valid: int
    epochs: int
    best_epochs: list[int]
    stopped: str
    faults: int
    nll_train: float
    nll_valid: float
    history: dict[str, list[float]]
    reference: dict[str, float]
    components: list[MemberReport]
    tried: dict[int, float]
    cv: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
        command: the command line that made it, without the names of files.
        table_sha256: of the training table's bytes, as hexadecimal digits.
        versions: of Python and of the packages that decide the result, by name.
    """

    command: str = ""
    table_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
