"""Measures the latency of a file by a command of the user: `--latency-command`."""

import errno
import math
import subprocess

from resprune_cli.options.usage import Failed

_LINES = 8  # of the output of a command that failed
_NO_INTERPRETER = " A script needs a first line such as #!/bin/sh."


def latency_fn(command):
    """The `latency_fn` of `Target` that runs a command.

    Args:
        command: list of str, the program and its arguments. The path of the file is
            appended. The program is run without a shell.

    Returns:
        A function from the path of a file to milliseconds. It raises `Failed` if the
        command fails, or if the last line of its output is not a positive number.
    """
    text = " ".join(command)

    def measure(path):
        try:
            done = subprocess.run(
                [*command, path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise Failed(
                f"--latency-command '{text}': {error.strerror}."
                + _NO_INTERPRETER * (error.errno == errno.ENOEXEC)
            ) from error
        lines = done.stdout.strip().splitlines()
        printed = "\n".join(lines[-_LINES:]) or "(nothing)"
        if done.returncode:
            raise Failed(
                f"--latency-command '{text}' ended with exit status {done.returncode} "
                f"for {path}. It printed:\n{printed}"
            )
        try:
            milliseconds = float(lines[-1])
        except (IndexError, ValueError):
            milliseconds = math.nan
        if not 0 < milliseconds < math.inf:
            raise Failed(
                f"The last line that --latency-command '{text}' prints must be the "
                f"time of one call in milliseconds, a positive number. It printed:\n"
                f"{printed}"
            )
        return milliseconds

    measure.__name__ = text  # it is recorded, and must agree to continue a run
    return measure
