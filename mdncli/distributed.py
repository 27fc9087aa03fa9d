"""Answers about tables that an engine spreads over processes or machines: Dask, Spark, Ray.

The engine sends parts of a table to its workers, and a worker answers one part after another.
`predict` is for data frames of Dask. `predict_frame` answers about one part, which is a data frame
of pandas; Spark and Ray call it. A row has the same answers, to the last bit, as on the command
line, wherever the engine cuts the table.
"""

import hashlib
import os
import threading
from typing import TYPE_CHECKING, Any

from mdncli.conditional_density import ConditionalDensity, load
from mdncli.errors import DataError, warning_once
from mdncli.files import FileContent, read_model_file
from mdncli.text import quoted

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd

__all__ = ["predict", "predict_frame"]

Model = str | os.PathLike[str] | FileContent | ConditionalDensity

_EXTRAPOLATES = "extrapolates"
# A worker that scores with one model after another does not keep all of them.
_MOST_MODELS = 4
_models: dict[str, ConditionalDensity] = {}
_loading = threading.Lock()
_warned: set[str] = set()


def predict(frame: "dd.DataFrame", model: Model, **questions: Any) -> "dd.DataFrame":
    """Return the rows of a Dask data frame with the columns of `mdn predict` beside them.

    Nothing is computed before the result is asked for. Then the model is sent to every worker
    once; a file is read here, so that the workers do not need it. A worker gives each warning once,
    where its messages go.

    Args:
        frame: the rows, in any partitions.
        model: the path of a model file, its content, or a model.
        questions: those of `ConditionalDensity.predict`.

    Raises:
        MdnError: the questions do not fit the model, or a column is missing. A cell that cannot be
            used is an error once the result is computed.
        TypeError: it is no Dask data frame, or there is no such parameter.

    >>> import dask.dataframe
    >>> rows = dask.dataframe.read_csv("data.csv")
    >>> predict(rows, "model.pt", mean=True, only=True).compute().shape
    (1000, 1)
    """
    from dask.delayed import delayed

    if not hasattr(frame, "map_partitions"):
        raise TypeError("predict needs a data frame of Dask. For one of pandas use predict_frame.")
    if not isinstance(model, ConditionalDensity):
        model = read_model_file(model)
    # What runs without rows has the columns and the types of what runs with rows.
    meta = predict_frame(frame._meta, model, **questions)
    # A delayed value is sent once to each worker, not with every partition.
    # Dask has no type for this method.
    rows: Any = frame
    answers: dd.DataFrame = rows.map_partitions(
        _predict_part, delayed(model), dict(questions), meta=meta
    )
    return answers


def predict_frame(frame: "pd.DataFrame", model: Model, **questions: Any) -> "pd.DataFrame":
    """Return the rows of one part of a table with the columns of `mdn predict` beside them.

    A process loads a model file once, as long as its content stays the same, and gives each warning
    once. The types of the columns are the same for every part.

    Args:
        frame: the rows; there may be none.
        model: the path of a model file, its content, or a model.
        questions: those of `ConditionalDensity.predict`.

    Raises:
        MdnError: a cell cannot be used, or the questions do not fit the model.
        TypeError: there is no such parameter.

    >>> import pandas
    >>> predict_frame(pandas.DataFrame({"x": [2.5]}), "model.pt", mean=True).columns.tolist()
    ['x', 'y_mean']
    """
    loaded = model if isinstance(model, ConditionalDensity) else _loaded(read_model_file(model))
    with warning_once(_warned):
        answers = loaded.predict(frame, **questions)
    if _EXTRAPOLATES in answers and questions.get("on_bad_rows") == "skip":
        # A skipped row has no number there, and not every part has such a row.
        answers[_EXTRAPOLATES] = answers[_EXTRAPOLATES].astype(float)
    return answers


def _predict_part(
    frame: "pd.DataFrame", model: Model, questions: dict[str, Any], partition_info: Any = None
) -> "pd.DataFrame":
    """Return what `predict_frame` does; an error says which partition has the row.

    Args:
        frame: the rows of a partition.
        model: the content of a model file, or a model.
        questions: those of `ConditionalDensity.predict`.
        partition_info: what Dask says about the partition.
    """
    try:
        return predict_frame(frame, model, **questions)
    except DataError as error:
        where = f"Partition {partition_info['number']}"
        if len(frame):
            where += f", which begins at the index {quoted(str(frame.index[0]))}"
        raise DataError(f"{where}: {error.message}") from error


def _loaded(file: FileContent) -> ConditionalDensity:
    """Return the model in a file; the models that were used last stay loaded."""
    key = hashlib.sha256(file.content).hexdigest()
    with _loading:
        model = _models.pop(key, None) or load(file)
        _models[key] = model
        while len(_models) > _MOST_MODELS:
            del _models[next(iter(_models))]
    return model
