"""What a user can mend: each kind of error carries the exit status that it ends a command with."""


class MdnError(Exception):
    """An error whose message names the thing, the place and the remedy.

    >>> from mdncli import load
    >>> try:
    ...     load("nowhere.pt")
    ... except MdnError as error:
    ...     print(error)
    nowhere.pt: there is no such file.
    """

    exit_code = 65


class UsageError(MdnError):
    """The command line alone shows the mistake."""

    exit_code = 2


class DataError(MdnError):
    """A table, or a column of it, cannot be used as asked."""

    exit_code = 65


class ModelFileError(MdnError):
    """A model file is not as it should be."""

    exit_code = 65


class MissingInputError(MdnError):
    """An input file does not exist."""

    exit_code = 66


class InputOutputError(MdnError):
    """Reading or writing failed."""

    exit_code = 74
