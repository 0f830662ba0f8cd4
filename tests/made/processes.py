"""Processes that begin with TensorFlow and this package imported.

Importing them takes seconds of a processor. Where the point of a test is what a process
does after its start, such as dying in the middle, the process is forked from one that
has imported them and done nothing else: TensorFlow has no thread before its first
operation.
"""

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.conftest"])


class Forked:
    """`python -m MODULE ARGUMENT ...`, with the part of `subprocess.Popen` used here.

    Args:
        module: what is run as `__main__`.
        arguments: its command line.
        log: path of a file to which standard output and standard error are added.
        environment: further environment variables. Those that TensorFlow and Keras
            read when they are imported have no effect.
    """

    def __init__(self, module, *arguments, log, environment=None):
        self._log = log
        open(log, "a").close()
        command = (module, [*map(str, arguments)], str(log), os.getcwd(), environment)
        self._process = _CONTEXT.Process(target=_run, args=command)
        self._process.start()
        self.kill, self.terminate = self._process.kill, self._process.terminate

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def output(self):
        """What it has printed so far."""
        with open(self._log) as log:
            return log.read()

    def wait(self, timeout=240):
        """Waits for its end; returns what it printed."""
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self._process.name, timeout, self.output())
        return self.output()


def _run(module, arguments, log, folder, environment):
    # What was imported stays. `conftest` turned the collection off for its imports.
    gc.freeze()
    gc.enable()
    with open(log, "ab", buffering=0) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(folder)
    os.environ.update(environment or {})
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
