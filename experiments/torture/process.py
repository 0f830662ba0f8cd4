"""Runs commands as processes and measures output, exit code, time and memory."""

import dataclasses
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from experiments.pages.results import ROOT

_LIMIT_SECONDS = 300
# Error messages of experiments, and of the command line.
_ERROR = re.compile(r"(resprune( \w+)?: )?error: ")
_DATA_LIMIT = 6 << 30  # bytes; protects the machine from hostile files


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: exit code; negative for the signal that killed it.
        output: standard output and standard error.
        seconds: wall-clock time.
        megabytes: peak memory.
    """

    code: int
    output: str
    seconds: float
    megabytes: float

    @property
    def error(self):
        """The line with the error message, or the last line."""
        lines = self.output.strip().splitlines() or [""]
        return next((line for line in lines if _ERROR.match(line)), lines[-1])

    def fault(self):
        """What is wrong with a refusal; None if it has an exit code and one message."""
        if self.code == 0:
            return "accepted"
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}"
        if "Traceback" in self.output:
            return f"traceback: {self.error}"
        if not _ERROR.match(self.error):
            return f"no error message: {self.error}"
        return None


def started(module, *arguments, death="never"):
    """The command of a module in a process that can kill itself (see `dying`)."""
    child = [sys.executable, "-m", "experiments.torture.dying", death, module]
    return [*child, *map(str, arguments)]


def run(command, kill_after=_LIMIT_SECONDS):
    """Runs a command until it ends.

    Args:
        command: list of words.
        kill_after: seconds after which it gets SIGKILL.

    Returns:
        An `Ended`.
    """
    with tempfile.TemporaryFile("w+") as output:
        begun = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_limited,
        )
        while True:
            # Unlike the methods of Popen, this reports the memory.
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - begun > kill_after:
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        return Ended(
            process.returncode,
            output.read(),
            time.monotonic() - begun,
            usage.ru_maxrss / 1024,
        )


def _limited():
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA_LIMIT, _DATA_LIMIT))


def on_small_disk(command, folder, kilobytes):
    """Runs a command with a folder on a disk of a given size.

    The disk is a tmpfs in its own mount namespace (Linux; see `small_disks`). Its files
    are copied to the folder afterwards.

    Args:
        command: list of words.
        folder: path of the folder, which can have files.
        kilobytes: size of the disk.

    Returns:
        An `Ended`.
    """
    aside = f"{folder}-aside"
    ended = run(
        [*_NAMESPACE, _ON_DISK, "sh", str(folder), aside, str(kilobytes), *command]
    )
    shutil.rmtree(folder)
    os.rename(aside, folder)
    return ended


def small_disks():
    """Whether this system allows mounting a small disk."""
    if shutil.which("unshare") is None:
        return False
    words = [*_NAMESPACE, "mount -t tmpfs none /mnt"]
    return subprocess.run(words, capture_output=True).returncode == 0


_NAMESPACE = ("unshare", "--map-root-user", "--mount", "sh", "-c")
_ON_DISK = """
folder=$1 aside=$2 size=$3
shift 3
cp -a "$folder" "$aside" && mount -t tmpfs -o "size=${size}k" none "$folder" || exit
cp -a "$aside/." "$folder/"
"$@"
code=$?
rm -r "$aside" && cp -a "$folder" "$aside"
exit $code
"""
