"""What is tortured: small runs on real digits, their commands, and what equals what."""

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
# Facts of a process, not of a run.
_OF_THE_MOMENT = {"seconds", "total_seconds", "started", "command", "written", "sha256"}
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
    """A folder with a trained model and data; commands; what they lead to untouched.

    Args:
        folder: an empty folder.

    Attributes:
        seconds: dict from the folder of an unbroken command to the time that it took.
    """

    def __init__(self, folder):
        self.folder, self.seconds = pathlib.Path(folder), {}
        made = [sys.executable, "-c", _MAKE_FILES, str(folder)]
        subprocess.run(made, cwd=ROOT, check=True, capture_output=True)

    def train(self, run_dir, death="never", **flags):
        """The command of an experiment of three rounds."""
        flags = {**_RUN, "run_dir": run_dir, "export": "", **flags}
        words = [f"--{name}={value}" for name, value in flags.items()]
        return process.started("experiments.cifar", *words, death=death)

    def start_from(self, run_dir, death="never"):
        """The command of a run that takes over the first round of another."""
        extra = {"start_from": self.trained, "criterion": "largest"}
        return self.train(run_dir, death, **extra)

    def prune(self, out, death="never", model=None, data=None):
        """The command of `resprune prune` with retraining."""
        words = ["--target", "units=2", "--epochs", "2", "--tolerance", "0.9"]
        model = model or self.folder / "net.keras"
        data = data or self.folder / "data.npz"
        given = [model, "--data", data, *words, "--out", out]
        return process.started("resprune_cli", "prune", *given, death=death)

    def export(self, out, death="never", model=None):
        """The command of `resprune export` to four formats."""
        model = model or self.folder / "net.keras"
        given = [model, "--formats", _FORMATS, "--out", out]
        return process.started("resprune_cli", "export", *given, death=death)

    @functools.cached_property
    def trained(self):
        """Folder of the unbroken run."""
        return self._made(self.train, "trained")

    @functools.cached_property
    def started_from(self):
        """Folder of the unbroken run that takes over a first round."""
        return self._made(self.start_from, "started-from")

    @functools.cached_property
    def pruned(self):
        """Folder of the unbroken `resprune prune`."""
        return self._made(self.prune, "pruned")

    @functools.cached_property
    def exported(self):
        """Folder of the unbroken exports."""
        return self._made(self.export, "exported")

    @functools.cached_property
    def interrupted(self):
        """Folder of a run that was killed in the training of its second round."""
        folder = self.folder / "interrupted"
        # Its tenth write is the state in round 1.
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
            raise RuntimeError(f"The unbroken run failed: {ended.output}")
        self.seconds[folder] = ended.seconds
        return folder


def difference(folder, expected, may_lack=()):
    """What is different between what two commands left; None if nothing is.

    Records are compared but for times, models weight by weight, other files byte by
    byte. Temporary files count.

    Args:
        folder: what is looked at.
        expected: what the unbroken command left.
        may_lack: names of files that need not be there; if they are, they must be
            equal.
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
    """Whether a file says who wrote it when, or is drawn of what does."""
    return name.name in {
        *("sessions.jsonl", "environment.json", "report.html", "flags.txt", "lock"),
        # TensorFlow writes the graph of a SavedModel in an order of the moment.
        *("fingerprint.pb", "saved_model.pb", "variables.index"),
        "variables.data-00000-of-00001",
    }


def _content(path):
    """What is to be equal in a file."""
    if path.suffix == ".keras":
        return _weights(path)
    if path.suffix in (".json", ".jsonl"):
        text = path.read_text("utf-8")
        values = (
            [json.loads(line) for line in text.splitlines()]
            if path.suffix == ".jsonl"
            else [json.loads(text)]
        )
        return [_lasting(value) for value in values]
    return path.read_bytes()


def _lasting(value):
    """JSON values without what is of the moment."""
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if k not in _OF_THE_MOMENT}
    return [_lasting(each) for each in value] if isinstance(value, list) else value


def _weights(path):
    """Bytes of every weight of a .keras file, by name."""
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
