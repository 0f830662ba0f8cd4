"""Runs the entries of the queue that are not done, one after another.

Every run is a child process, `python -m experiments.cifar ...`. Imports no TensorFlow.
"""

import ctypes
import functools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import filelock

from experiments import record
from experiments.pages.results import ROOT
from experiments.queue.obstacles import obstacle, settings
from resprune_cli.start import StopRequest

PYTHON = (sys.executable, "-m")
POLL_SECONDS = 2
STATUS_SECONDS = 60
# With less time left, no child is started: loading the data takes half of it.
_LEAST_SECONDS = 60

_PR_SET_PDEATHSIG = 1  # of prctl(2)


def _end_with_parent(runner):
    """Makes Linux send SIGTERM to this child when the runner is killed.

    Args:
        runner: process ID of the runner.
    """
    # The runner's own handler would only note the signal, before the program starts.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != runner:  # it was killed before the call
            os._exit(128 + signal.SIGTERM)


class Runner:
    """One call of the queue: runs entries in order until it is stopped.

    Args:
        folders: `Folders`.
        entries: list of `planned.Entry`, in order.
        minutes: time budget; None for no limit.
    """

    def __init__(self, folders, entries, minutes=None):
        self.folders, self.entries = folders, entries
        self.deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self.stop = StopRequest()
        self.failed = []
        self.cut_short = False  # a child stopped because of the time budget

    def run(self):
        """Runs the entries and returns the exit status.

        The status is 0 when all is done or the time budget ended, 1 if a run failed,
        and 128 + the number of the signal that stopped it.

        Raises:
            ValueError: if another runner uses the same folder of runs.
        """
        self.folders.runs.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folders.runs / "queue.lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise ValueError(
                f"Another runner uses --runs={self.folders.runs}. Wait for it, stop "
                "it with SIGTERM, or give another folder."
            ) from None
        with lock, self.stop:
            for entry in self.entries:
                if self.stop.signal or self._out_of_time():
                    break
                if not self._done(entry):
                    self._run_entry(entry)
            return self._log_end()

    def _log_end(self):
        """Logs why the queue ends; returns the exit status."""
        if self.stop.signal:
            self._log(f"stopped: {self.stop.reason()}. The same command continues.")
            return self.stop.code
        if self._out_of_time():
            self._log("stopped: the time budget ended. The same command continues.")
        if self.failed:
            self._log(f"failed: {', '.join(self.failed)}")
        return 1 if self.failed else 0

    def _left(self):
        """Seconds left of the time budget; None without a budget."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def _out_of_time(self):
        left = self._left()
        return self.cut_short or (left is not None and left < _LEAST_SECONDS)

    def _done(self, entry):
        return record.progress(self._record(entry))[1]

    def _record(self, entry):
        return self.folders.records / entry.row.record(entry.seed)

    def _run_entry(self, entry):
        """Runs an entry until it ends or is stopped, or logs why it cannot run."""
        failed = {name.rsplit("-seed", 1)[0] for name in self.failed}
        reason = obstacle(entry, self.folders)
        if entry.row.run in failed:
            reason = f"{entry.row.run} already failed in this call"
        if reason:
            self._log(f"{entry.run}: skipped: {reason}")
            return
        self._restore(entry)
        self._log(f"{entry.run}: starts or continues")
        log = self.folders.runs / f"{entry.run}.log"
        with log.open("a") as output:
            child = subprocess.Popen(
                self._command(entry),
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches only this process, which passes it on.
                start_new_session=True,
                preexec_fn=functools.partial(_end_with_parent, os.getpid()),
            )
        try:
            code = self._watch(entry, child)
            # A run that was stopped while it wrote its report writes it again.
            self._keep(entry, finished=code == 0)
        except ValueError as error:  # the record cannot be written
            self._fail(entry, str(error))
            return
        finally:
            child.terminate()
            child.wait()
        if self._done(entry):
            self._log(f"{entry.run}: done")
        elif code == 0 and self.deadline is not None:
            self.cut_short = True
        elif not self.stop.signal:
            last = log.read_text(errors="replace").splitlines()[-10:]
            lines = "".join(f"\n    {line}" for line in last)
            self._fail(entry, f"exit status {code}. Last lines of its log:{lines}")

    def _fail(self, entry, reason):
        self.failed.append(entry.run)
        self._log(f"{entry.run}: failed: {reason}")

    def _watch(self, entry, child):
        """Waits for a child, records it, passes signals on; returns its exit status."""
        reported, asked = time.monotonic(), False
        begun = record.progress(self.folders.runs / entry.run)
        while True:
            try:
                return child.wait(timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:
                # Before a new round, flags.txt may still be that of an earlier call.
                if record.progress(self.folders.runs / entry.run) != begun:
                    self._keep(entry, finished=False)
            if self.stop.signal and not asked:
                child.send_signal(signal.SIGTERM)
                asked = True
            if time.monotonic() - reported >= STATUS_SECONDS:
                reported = time.monotonic()
                self._log(self._status(entry))

    def _restore(self, entry):
        """Restores a lost run directory from a record with models, if that is further.

        The run then continues after its last finished round.
        """
        run_dir, kept = self.folders.runs / entry.run, self._record(entry)
        further = record.progress(kept)[0] > record.progress(run_dir)[0]
        if further and (kept / "models").is_dir() and not settings(run_dir):
            shutil.copytree(kept, run_dir, dirs_exist_ok=True)

    def _keep(self, entry, finished):
        """Records a run if it has more rounds than its record.

        Args:
            entry: an entry.
            finished: whether to record a finished run. While its process runs, it
                may still write the report.
        """
        run_dir, kept = self.folders.runs / entry.run, self._record(entry)
        now = record.progress(run_dir)
        if now[0] and now > record.progress(kept) and (finished or not now[1]):
            small = entry.row.data != "imagenet"  # 2 MB per model instead of 100
            record.keep(run_dir, kept, models=small or not now[1])

    def _command(self, entry):
        """Arguments of the child process."""
        row, states = entry.row, self.folders.state(entry.run)
        arguments = []
        for argument in row.command(entry.seed):
            flag, _, value = argument.partition("=")
            if value.startswith("runs/"):
                name = value.removeprefix("runs/")
                folder = self.folders.runs / name
                argument = (
                    f"{flag}="
                    f"{folder if flag == '--run_dir' else self.folders.run(name)}"
                )
            arguments.append(argument)
        arguments.append(f"--data_dir={self.folders.data}")
        if states:
            states.parent.mkdir(parents=True, exist_ok=True)
            arguments.append(f"--state_file={states}")
        if self._left() is not None:
            arguments.append(f"--time_budget_minutes={self._left() / 60:.3f}")
        return [*PYTHON, f"experiments.{row.module}", *arguments]

    def _status(self, entry):
        """One line on the progress of a run."""
        path = self.folders.runs / entry.run / "status.json"
        try:
            age = time.time() - path.stat().st_mtime
            now = json.loads(path.read_text())
        except FileNotFoundError:
            age = math.inf
        if age > 2 * STATUS_SECONDS:
            return f"{entry.run}: starting or measuring"
        parts = [
            entry.row.run,
            f"seed {entry.seed}",
            f"round {now['round']} of {now['rounds']}",
            f"epoch {now['epoch']}/{now['epochs']}",
        ]
        if now["images_per_second"] is not None:
            parts.append(f"{now['images_per_second']:.0f} images/s")
        if now["seconds_left"] is not None:
            parts.append(f"{now['seconds_left'] / 3600:.1f} h left")
        return "  ".join(parts)

    def _log(self, text):
        """Prints a line with the time and appends it to the log."""
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}"
        print(line, flush=True)
        with (self.folders.runs / "queue.log").open("a") as log:
            log.write(f"{line}\n")
