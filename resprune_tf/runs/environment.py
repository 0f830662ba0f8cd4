"""The environment of a run: machine, versions and commit. Pure Python."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys

from resprune_tf.system.memory import processors

_PACKAGES = ("resprune_tf", "keras", "tensorflow", "jax", "numpy")


def environment() -> dict:
    """Returns machine, versions and commit of the code, as a dict of text and ints."""
    found = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu_name(),
        "cores": processors(),
    }
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    if "keras" in sys.modules:
        found.update(_devices())
    # The commit counts only if git tracks this file: an installed package may be in a
    # folder of another repository.
    if _git("ls-files", __file__) and (commit := _git("rev-parse", "HEAD")):
        changed = _git("status", "--porcelain", "--untracked-files=no")
        found["commit"] = commit + (" with changes" if changed else "")
    return found


def _devices():
    """The Keras backend and the devices on which it computes."""
    import keras

    backend, names = keras.backend.backend(), []
    if backend == "jax":
        import jax

        names = [device.device_kind for device in jax.local_devices()]
    elif backend == "tensorflow":
        from tensorflow import config

        names = [
            config.experimental.get_device_details(device).get("device_name", "GPU")
            for device in config.list_physical_devices("GPU")
        ] or ["cpu"]
    found = {}
    # Kernels of oneDNN round differently, so the results depend on this variable.
    if backend == "tensorflow" and "TF_ENABLE_ONEDNN_OPTS" in os.environ:
        found["TF_ENABLE_ONEDNN_OPTS"] = os.environ["TF_ENABLE_ONEDNN_OPTS"]
    return found | {
        "backend": backend,
        "devices": ", ".join(
            f"{names.count(name)} {name}" for name in sorted({*names})
        ),
    }


def _cpu_name():
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git(*arguments):
    folder = pathlib.Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, text=True
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
