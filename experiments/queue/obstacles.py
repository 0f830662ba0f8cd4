"""Why a planned run cannot start now: what it needs and where that is stored."""

import dataclasses
import functools
import json
import pathlib
import subprocess
import sys
import tarfile

from experiments import record
from experiments.pages.cells import joined
from experiments.pages.results import ROOT

# What the data folder has, if it has a data set; see the readers in `resprune_tf.data`.
_DATA = {
    "cifar10": ("cifar10", "tfds/cifar10", "cifar-10-batches-bin", "data_batch_1.bin"),
    "cifar100": ("cifar100", "tfds/cifar100", "cifar-100-binary", "train.bin"),
    "imagenet": ("imagenet2012", "tfds/imagenet2012"),
}


@dataclasses.dataclass(frozen=True)
class Folders:
    """The folders of a runner.

    Attributes:
        data: folder of the data sets.
        runs: folder of the run directories.
        records: folder of all records.
        states: folder of the state files, or None to write none.
    """

    data: pathlib.Path
    runs: pathlib.Path
    records: pathlib.Path
    states: pathlib.Path | None = None

    def run(self, name):
        """The folder to read a run from: its run directory, or else its record."""
        return next(
            (
                folder
                for folder in (self.runs / name, *self.records.glob(f"*/{name}"))
                if record.progress(folder)[0]
            ),
            self.runs / name,
        )

    def state(self, name):
        """Path of a run's state file, or None."""
        return self.states and self.states / f"{name}.tar"


def obstacle(entry, folders):
    """Why an entry cannot start now, or None.

    Args:
        entry: a `planned.Entry`.
        folders: `Folders`.
    """
    for name in entry.row.needs(entry.seed):
        if problem := _missing(entry, name, folders):
            return problem
    names = _DATA[entry.row.data]
    if not any((folders.data / name).exists() for name in names):
        return f"no {joined(names, 'or')} in --data_dir={folders.data}"
    begun = settings(folders.runs / entry.run, folders.state(entry.run))
    precision = begun.get("recipe", {}).get("precision")
    if precision == "bfloat16" and not native_bfloat16():
        return "it started in bfloat16, which this processor does not compute natively"
    return None


def _missing(entry, name, folders):
    """What is missing of a run that an entry needs, or None."""
    folder = folders.run(name)
    rounds, finished = record.progress(folder)
    start = [f"--{flag}=runs/{name}" for flag in ("start_from", "teacher_from")]
    if set(start).intersection(entry.row.command(entry.seed)):
        if not (rounds and (folder / "models" / "round-00.keras").is_file()):
            return f"it needs the initial model of {name}, which is missing"
    elif not finished:
        return f"it needs {name}, which is not finished"
    return None


@functools.cache
def native_bfloat16():
    """Whether this machine computes bfloat16 natively (`rp.native_precision`)."""
    code = "import resprune_tf as rp; print(rp.native_precision())"
    # In another process, so that the runner does not start TensorFlow.
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    return answer.stdout.split()[-1:] == ["bfloat16"]


def settings(run_dir, state=None):
    """The recorded settings of a started run, from its folder or state file."""
    path = run_dir / "run.json"
    if path.is_file():
        return json.loads(path.read_text())
    if state and state.is_file():
        with tarfile.open(state, "r:") as archive:
            member = archive.getmember("run.json")
            return json.load(archive.extractfile(member)) if member.isfile() else {}
    return {}
