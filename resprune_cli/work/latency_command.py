"""Measures the latency of a file by a program of the user: `--latency-command`."""

import errno
import math
import shlex
import shutil
import subprocess

from resprune_cli.options.usage import ProgramFailed

_LINES = 8  # of the output of a program that failed
_FIRST_LINE = (
    " A script needs a first line such as #!/bin/sh, and lines that end without a "
    "carriage return (as on Linux, not as on Windows)."
)


def latency_fn(command):
    """The `latency_fn` of `Target` that runs a program.

    Args:
        command: list of str, the program and its arguments. The path of the file is
            appended. The program is run without a shell.

    Returns:
        A function from the path of a file to milliseconds. It raises `ProgramFailed` if
        the program fails, or if the last line of its standard output is not a positive
        number.
    """
    text = shlex.join(command)

    def measure(path):
        try:
            done = subprocess.run(
                [*command, path],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
            )
        except OSError as error:
            missing = error.errno == errno.ENOENT and shutil.which(command[0])
            hint = _FIRST_LINE if missing or error.errno == errno.ENOEXEC else ""
            raise ProgramFailed(
                f"--latency-command {text}: {error.strerror}.{hint}"
            ) from error
        if done.returncode:
            raise ProgramFailed(
                f"--latency-command {text} ended with exit status {done.returncode} "
                f"for {path}.{_printed(done)}"
            )
        milliseconds = _last_number(done.stdout)
        if not 0 < milliseconds < math.inf:
            raise ProgramFailed(
                f"The last line that --latency-command {text} prints on its standard "
                "output must be the time of one call in milliseconds, a positive "
                f"number.{_printed(done)}"
            )
        return milliseconds

    measure.__name__ = text  # it is recorded, and must agree to continue a run
    return measure


def _last_number(output):
    try:
        return float(output.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return math.nan


def _printed(done):
    """The last lines of what a program printed."""
    parts = []
    for name, output in (("output", done.stdout), ("error", done.stderr)):
        lines = output.strip().splitlines()[-_LINES:]
        parts += [f"Its standard {name}:", *(lines or ["(nothing)"])]
    return "\n" + "\n".join(parts)
