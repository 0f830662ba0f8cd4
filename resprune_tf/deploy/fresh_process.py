"""A fresh Python process that loads what was written and cannot see this package."""

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
    """The fresh process ended with an error; the message is the end of what it said."""


def in_fresh_process(runtime, job, arrays=None, backend="tensorflow"):
    """Runs a job in a fresh Python process, on the CPU.

    Args:
        runtime: one of `runtimes.RUNTIMES`.
        job: dict of the keyword arguments of the job's function, and its `"name"`,
            one of `runtimes.JOBS`.
        arrays: list of arrays for the job, if it takes some.
        backend: what Keras is to run on there, for the runtime `"keras"`.

    Returns:
        dict of the arrays that the job made.

    Raises:
        RuntimeFailed: if the process ends with an error.
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
            [sys.executable, "-I", str(runtimes.__file__), str(folder)],
            cwd=folder,
            env={
                **os.environ,
                "KERAS_BACKEND": backend,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                # The accelerator's memory may be all this process's.
                "CUDA_VISIBLE_DEVICES": "-1",
                "JAX_PLATFORMS": "cpu",
            },
            capture_output=True,
            text=True,
        )
        if process.returncode:
            tail = process.stderr.strip().splitlines()[-8:]
            raise RuntimeFailed("\n".join(tail))
        with np.load(folder / "made.npz") as made:
            return dict(made)
