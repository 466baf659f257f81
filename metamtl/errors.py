"""What can go wrong in words a user can act on, and the exit code each kind ends with."""

from __future__ import annotations


class MetamtlError(Exception):
    """A failure told in one clear sentence that names the thing and the fix; exit code 1."""

    exit_code = 1


class UsageError(MetamtlError):
    """A wrong command, key or value, or data that cannot make the tasks asked for; exit code 2.

    `problems` holds every error found, one sentence each, so that the user mends them all at once.
    """

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Pruned(MetamtlError):  # noqa: N818 (a verdict is no error)
    """Whoever watches the validations of a run has ended it early; the message is the reason."""


class Diverged(MetamtlError):  # noqa: N818 (an outcome of training, as Pruned is)
    """Training left the numbers: a loss, or the figure of every validation, was not finite.

    Unlike any other failure it says something of the values that were tried: a search may learn from it.
    """


class Interrupted(BaseException):
    """The run was asked to stop by a signal and has saved its state; exit code 128 + signal.

    Like KeyboardInterrupt it is no Exception: a signal may come while any line runs, a reader of files that takes every
    Exception for a damaged file included.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
