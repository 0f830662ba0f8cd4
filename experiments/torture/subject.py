"""The tested commands, which are small runs on digits, and a comparison of results."""

import functools
import io
import json
import pathlib
import shutil
import subprocess
import sys
import zipfile

from experiments.pages.results import ROOT
from experiments.torture import process

_RUN = {
    "dataset": "digits",
    "depth": 14,
    "unit_kind": "basic",
    "width": 4,
    "train_examples": 200,
    "validation_examples": 100,
    "epochs": 2,
    "retrain_epochs": 1,
    "batch_size": 50,
    "units_per_round": 2,
}
_FORMATS = "keras,saved_model,litert,onnx"
# Keys that describe a process, not a run.
_PER_PROCESS = {"seconds", "total_seconds", "started", "command", "written", "sha256"}
_MAKE_FILES = """
import sys, numpy as np, keras
from keras import layers
from resprune_tf import load_dataset
folder = sys.argv[1]
keras.utils.set_random_seed(0)
x = inputs = keras.Input((8, 8, 1))
x = layers.Conv2D(8, 3, padding="same")(layers.Rescaling(1 / 255)(x))
for number in range(4):
    y = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.Add(name=f"unit{number}_add")([x, y])
x = layers.Dense(10)(layers.GlobalAveragePooling2D()(x))
model = keras.Model(inputs, x)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(0.005), loss, metrics=["accuracy"])
data = load_dataset("digits", validation_examples=100)
images, labels = data.train.images, data.train.labels
model.fit(images[:600], labels[:600], epochs=12, verbose=0)
model.save(f"{folder}/net.keras")
np.savez(f"{folder}/data.npz", x=images[:400], y=labels[:400])
"""


class Subject:
    """A folder with a trained model and data, commands, and undisturbed results.

    Args:
        folder: an empty folder.

    Attributes:
        seconds: time of each undisturbed command, by folder of its result.
    """

    def __init__(self, folder):
        self.folder, self.seconds = pathlib.Path(folder), {}
        made = [sys.executable, "-c", _MAKE_FILES, str(folder)]
        subprocess.run(made, cwd=ROOT, check=True, capture_output=True)

    @property
    def commands(self):
        """By name: a function from a folder to a command, and the expected folder."""
        return {
            "training": (self.train, self.trained),
            "prune": (self.prune, self.pruned),
            "export": (self.export, self.exported),
        }

    def train(self, run_dir, death="never", **flags):
        """The command of an experiment of three rounds."""
        flags = {**_RUN, "run_dir": run_dir, "export": "", **flags}
        words = [f"--{name}={value}" for name, value in flags.items()]
        return process.started("experiments.cifar", *words, death=death)

    def start_from(self, run_dir, death="never"):
        """The command of a run that starts from the first round of another."""
        return self.train(run_dir, death, start_from=self.trained, criterion="largest")

    def prune(self, out, death="never", model=None, data=None):
        """The command of `resprune prune` with retraining."""
        words = ["--target", "units=2", "--epochs", "2", "--tolerance", "0.9"]
        model = model or self.folder / "net.keras"
        data = data or self.folder / "data.npz"
        given = [model, "--data", data, *words, "--out", out]
        return process.started("resprune_cli", "prune", *given, death=death)

    def export(self, out, death="never"):
        """The command of `resprune export` to four formats."""
        given = [self.folder / "net.keras", "--formats", _FORMATS, "--out", out]
        return process.started("resprune_cli", "export", *given, death=death)

    @functools.cached_property
    def trained(self):
        """Folder of the undisturbed run."""
        return self._made(self.train, "trained")

    @functools.cached_property
    def started_from(self):
        """Folder of the undisturbed run that starts from another run."""
        return self._made(self.start_from, "started-from")

    @functools.cached_property
    def pruned(self):
        """Folder of the undisturbed `resprune prune`."""
        return self._made(self.prune, "pruned")

    @functools.cached_property
    def exported(self):
        """Folder of the undisturbed exports."""
        return self._made(self.export, "exported")

    @functools.cached_property
    def interrupted(self):
        """Folder of a run that was killed while its second round was trained."""
        folder = self.folder / "interrupted"
        # About the tenth write is the training state of round 1, the second round.
        for number in range(8, 20):
            shutil.rmtree(folder, ignore_errors=True)
            process.run(self.train(folder, death=f"{number}:after"))
            if (folder / "state.npz").exists() and (folder / "rounds.jsonl").exists():
                return folder
        raise RuntimeError("No write of the run leaves a state in its second round.")

    def _made(self, command, name):
        folder = self.folder / name
        ended = process.run(command(folder))
        if ended.code:
            raise RuntimeError(f"The undisturbed run failed: {ended.output}")
        self.seconds[folder] = ended.seconds
        return folder


def difference(folder, expected, may_lack=()):
    """The first difference between the results of two commands; None if equal.

    Records are compared without times, models weight by weight, other files byte by
    byte. Remaining temporary files are a difference.

    Args:
        folder: the result to check.
        expected: the result of the undisturbed command.
        may_lack: names of files that may be missing; existing ones must be equal.
    """
    for path in sorted(pathlib.Path(expected).rglob("*")):
        name = path.relative_to(expected)
        if path.is_dir() or _unique(name):
            continue
        twin = pathlib.Path(folder) / name
        if not twin.exists() and str(name) in may_lack:
            continue
        if not twin.exists():
            return f"{name} is missing"
        expected_content = _content(path)
        try:
            same = _content(twin) == expected_content
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            return f"{name} is unreadable: {error or type(error).__name__}"
        if not same:
            return f"{name} differs"
    for path in pathlib.Path(folder).rglob(".*"):
        if path.is_file() or any(path.iterdir()):
            return f"{path.relative_to(folder)} is left over"
    return None


def _unique(name):
    """Whether a file differs between processes by design."""
    return name.name in {
        *("sessions.jsonl", "environment.json", "report.html", "flags.txt", "lock"),
        # TensorFlow writes the graph of a SavedModel in varying order.
        *("fingerprint.pb", "saved_model.pb", "variables.index"),
        "variables.data-00000-of-00001",
    }


def _content(path):
    """The content of a file that must be equal."""
    if path.suffix == ".keras":
        return _weights(path)
    if path.suffix in (".json", ".jsonl"):
        text = path.read_text("utf-8")
        parts = text.splitlines() if path.suffix == ".jsonl" else [text]
        return [_lasting(json.loads(part)) for part in parts]
    return path.read_bytes()


def _lasting(value):
    """JSON values without the keys that describe a process."""
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if k not in _PER_PROCESS}
    return [_lasting(each) for each in value] if isinstance(value, list) else value


def _weights(path):
    """The bytes of every weight of a .keras file, by name."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()].tobytes()

    with h5py.File(content) as file:
        file.visititems(visit)
    return found
