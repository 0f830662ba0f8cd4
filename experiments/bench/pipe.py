"""The benchmark's end of the pipes to its workers: a line of JSON each way."""

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time


class WorkerError(Exception):
    """A worker that cannot go on; the text says why."""


class NotInstalled(WorkerError):
    """A worker whose framework is not there; the text is the framework's name."""


class Worker:
    """A process that measures when it is asked to.

    Args:
        command: list of strings; what runs `experiments.bench.worker`.
        settings: JSON-able dict for it.
        environment: variables to set beside the present ones.
        folder: where to run it.
    """

    def __init__(self, command, settings, environment, folder):
        self._log = tempfile.TemporaryFile()
        self._buffer = b""
        self._process = subprocess.Popen(
            [*command, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **environment},
            cwd=folder,
            start_new_session=True,  # Ctrl-C is for the parent alone
        )

    def ready(self, timeout):
        """What the worker tells of itself, once it is warm."""
        return self._receive(timeout)

    def measure(self, name, timeout):
        """Has it measure; returns the dict that it answers.

        Raises:
            WorkerError: if it fails, dies, or takes longer than `timeout` seconds.
        """
        try:
            self._process.stdin.write(json.dumps(name).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerError(self._death()) from None
        return self._receive(timeout)

    def close(self):
        """Ends the process, however it fares."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(OSError):  # a rest that nobody reads
                pipe.close()

    def _receive(self, timeout):
        end = time.monotonic() + timeout
        output = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            left = max(0.0, end - time.monotonic())
            if not select.select([output], [], [], left)[0]:
                raise WorkerError(f"no answer within {timeout:.0f} s")
            chunk = os.read(output, 1 << 16)
            if not chunk:
                raise WorkerError(self._death())
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        kind, value = json.loads(line)
        if kind == "missing":
            raise NotInstalled(value)
        if kind == "failed":
            raise WorkerError(value)
        return value

    def _death(self):
        status = self._process.wait()
        if status < 0:
            return f"ended by {signal.Signals(-status).name}"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"exit status {status}" + (f": {last}" if last else "")
