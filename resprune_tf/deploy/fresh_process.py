"""Runs written models in a new Python process that cannot import this package."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from resprune_tf.deploy import runtimes
from resprune_tf.system.disk import writing


class RuntimeFailed(RuntimeError):
    """The new process ended with an error. The message is the end of its output."""


def in_fresh_process(runtime, job, arrays=None, backend="tensorflow"):
    """Runs a job in a new Python process on the CPU.

    Args:
        runtime: one of `runtimes.RUNTIMES`.
        job: dict with `"name"`, one of `runtimes.JOBS`, and the keyword arguments of
            its function.
        arrays: list of arrays for the job, or None.
        backend: Keras backend of the process, for the runtime `"keras"`.

    Returns:
        dict of the arrays that the job returned.

    Raises:
        RuntimeFailed: if the process ends with an error.
        DiskFullError: if there is no space for the arrays.
    """
    with (
        writing(tempfile.gettempdir()),
        tempfile.TemporaryDirectory(prefix="resprune-") as folder,
    ):
        folder = pathlib.Path(folder)
        if arrays is not None:
            np.savez(folder / "arrays.npz", *arrays)
        (folder / "job.json").write_text(json.dumps({"runtime": runtime, **job}))
        process = subprocess.run(
            # -P: the modules beside the program are not importable.
            [sys.executable, "-P", str(runtimes.__file__), str(folder)],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONPATH": _absolute(os.environ.get("PYTHONPATH", "")),
                "KERAS_BACKEND": backend,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                # This process may have allocated all memory of the accelerator.
                "CUDA_VISIBLE_DEVICES": "-1",
                "JAX_PLATFORMS": "cpu",
            },
            capture_output=True,
            text=True,
        )
        if process.returncode:
            tail = process.stderr.strip().splitlines()[-8:]
            ended = f"its process ended with exit status {process.returncode}"
            raise RuntimeFailed("\n".join(tail) or ended)
        with np.load(folder / "results.npz") as results:
            return dict(results)


def _absolute(paths):
    """A search path whose entries do not depend on the working directory."""
    return os.pathsep.join(map(os.path.abspath, filter(None, paths.split(os.pathsep))))
