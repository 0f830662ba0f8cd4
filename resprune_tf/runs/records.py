"""One run directory: what a run did, in files that survive any crash.

Pure Python. Every write goes to a temporary file that is synced and renamed, so a
reader finds the old content or the new, never a half of either.

    run.json          settings; a run directory continues only under the same ones
    sessions.jsonl    one line for every process that worked on the run
    rounds.jsonl      one line a finished round (`Round`)
    history.jsonl     one line a trained epoch of the finished rounds
    final.json        the outcome, once there is one
    models/           initial.keras, round-00.keras, ...: the model after each round;
                      teacher.keras, if another net teaches in all of them
    state.npz         the round in training, after its last whole epoch
    diverged.json     the round whose training diverged, which ended the run, and why
    status.json       where the training stands, for other processes to read
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time

import filelock

from resprune_tf.system.advice import advice
from resprune_tf.system.checksum import weights_agree
from resprune_tf.system.disk import DiskFullError, folder_problem, writing
from resprune_tf.system.whole_files import (
    RunDirectoryError,
    damaged,
    read_json,
    read_lines,
    remove_left_behind,
    write_json,
    write_lines,
)

TEACHER = "models/teacher.keras"
INITIAL = "models/initial.keras"
# Settings that choose among rounds and change none: they may differ each time.
JUDGING = ("tolerance",)
SPLITS = ("train", "validation", "test")
_FAILED = "failed"  # instead of the checksum of a criterion that is to be mended


def model_name(number: int) -> str:
    """Name of the model of a round in its run directory; no other is ever used."""
    return f"models/round-{number:02}.keras"


@dataclasses.dataclass(frozen=True)
class Round:
    """What one round of training (the first is round 0) came to.

    `macs` are of one image, `importances` are ω after training, `scores` the
    criterion's values for the next removal. `train`, `validation` and `test` are
    measures by name: `"loss"` and `"accuracy"` (a fraction), or what a model was
    compiled with; those of `train` are means over the last epoch. `test` is empty where
    there are no such data. `measured` holds the size of a file and a latency, where the
    target limits them. `correct` says by split which examples a classifier classifies
    correctly: one bit for each example in hexadecimal digits, filled up with zeros;
    there is none where that is not known, as for a `tf.data.Dataset`. `kept`, in round
    0, holds the reason for each unit that cannot be removed. `recalibrated` is the
    number of training examples from which the statistics of BatchNormalization were
    estimated anew after a short training; 0 if they are those of the training.
    """

    round: int
    removed: tuple[str, ...]
    units: tuple[str, ...]
    layers: int
    parameters: int
    macs: int
    importances: dict[str, float]
    scores: dict[str, float]
    epochs: int
    train: dict[str, float]
    validation: dict[str, float]
    test: dict[str, float]
    seconds: float
    model: str
    measured: dict[str, float] = dataclasses.field(default_factory=dict)
    recalibrated: int = 0
    correct: dict[str, str] = dataclasses.field(default_factory=dict)
    kept: dict[str, str] = dataclasses.field(default_factory=dict)

    def measure(self, split: str, name: str) -> float:
        """A measure on `"train"`, `"validation"` or `"test"`."""
        return getattr(self, split)[name]

    def line(self) -> dict:
        """The JSON object of rounds.jsonl: measures are `test_accuracy` and so on."""
        line = {}
        for name, value in dataclasses.asdict(self).items():
            if name in SPLITS:
                line.update({f"{name}_{measure}": v for measure, v in value.items()})
            elif name not in _IF_ANY or value:
                line[name] = value
        return line

    @classmethod
    def from_line(cls, line: dict) -> Round:
        """The round that a JSON object of rounds.jsonl tells of."""
        fields, measures = {}, {split: {} for split in SPLITS}
        for name, value in line.items():
            split, _, measure = name.partition("_")
            if split in SPLITS:
                measures[split][measure] = value
            else:
                fields[name] = value
        for name in ("removed", "units"):
            fields[name] = tuple(fields[name])
        found = cls(**fields, **measures)
        for name in _COUNTS:
            if type(getattr(found, name)) is not int:
                raise ValueError(f"`{name}` must be an integer")
        for name in (*SPLITS, "importances", "scores", "measured"):
            if any(type(v) not in (int, float) for v in getattr(found, name).values()):
                raise ValueError(f"the values of `{name}` must be numbers")
        for name in ("correct", "kept"):
            if any(type(v) is not str for v in getattr(found, name).values()):
                raise ValueError(f"the values of `{name}` must be text")
        for digits in found.correct.values():
            int(digits, 16)
        # The name becomes a path that is read and written.
        if found.model != model_name(found.round):
            raise ValueError(
                f"the model of round {found.round} must be "
                f"'{model_name(found.round)}', not {found.model!r}"
            )
        return found


_IF_ANY = ("measured", "recalibrated", "correct", "kept")
_COUNTS = ("round", "layers", "parameters", "macs", "epochs", "recalibrated")


class RunDirectory:
    """A run's files. A context manager that holds the directory for one process.

    Args:
        path: the directory; made on entry.

    Raises (on entry):
        RunDirectoryError: if the directory cannot be written, or another process
            holds it.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._lock = filelock.FileLock(self.path / "lock")

    def __enter__(self):
        try:
            with writing(self.path):
                (self.path / "models").mkdir(parents=True, exist_ok=True)
                # The system drops the lock when the process dies, kill -9 included.
                self._lock.acquire(blocking=False)
        except filelock.Timeout:
            raise RunDirectoryError(
                f"Another process is working in '{self.path}'. Wait for it, stop it, "
                "or choose another run directory."
            ) from None
        except DiskFullError:
            raise
        except OSError as error:
            raise RunDirectoryError(
                f"Cannot write the run directory '{self.path}': {error.strerror}. "
                "Choose one in a folder that you may write to."
            ) from None
        for folder in (self.path, self.path / "models"):
            remove_left_behind(folder)
        return self

    def __exit__(self, *exception):
        self._lock.release()

    def claim(self, settings: dict) -> None:
        """Writes the settings of a new run; checks those of one that continues.

        Those that only judge rounds (`JUDGING`) are replaced, which takes away an
        outcome that other ones led to.

        Raises:
            RunDirectoryError: if the directory holds a run with other settings, or
                files that are no run of ours.
        """
        settings = json.loads(json.dumps(settings))
        known = read_settings(self.path)
        if known is None:
            if (self.path / "rounds.jsonl").exists():
                raise RunDirectoryError(
                    f"'{self.path}' has rounds but no run.json, so it cannot be "
                    "continued. Choose another run directory."
                )
            write_json(self.path / "run.json", settings)
            return
        judged = {name: settings[name] for name in JUDGING if name in settings}
        now = {**known, **judged}
        if now.get("criterion_code") == _FAILED:
            del now["criterion_code"]
            if "criterion_code" in settings:
                now["criterion_code"] = settings["criterion_code"]
        changes = _changes(now, settings)
        if changes:
            raise RunDirectoryError(
                f"'{self.path}' holds a run with other settings ({changes}). Choose "
                "another run directory, or repeat that run's settings to continue it."
            )
        if now != known:
            (self.path / "final.json").unlink(missing_ok=True)
            write_json(self.path / "run.json", now)

    def release_criterion(self) -> None:
        """Lets the run continue with other code of its criterion, which has failed."""
        settings = read_settings(self.path)
        if "criterion_code" in settings:
            write_json(self.path / "run.json", {**settings, "criterion_code": _FAILED})

    @property
    def rounds(self) -> list[Round]:
        """The finished rounds."""
        return read_rounds(self.path)

    def add_round(self, record: Round, history: list[dict]) -> None:
        """Appends a finished round. Its line in rounds.jsonl is what commits it."""
        kept = [
            line
            for line in read_lines(self.path / "history.jsonl")
            if line["round"] < record.round
        ]
        lines = [{"round": record.round, **epoch} for epoch in history]
        if kept or lines:  # a first round may be taken over from a run without history
            write_lines(self.path / "history.jsonl", kept + lines)
        write_lines(
            self.path / "rounds.jsonl",
            [*read_lines(self.path / "rounds.jsonl"), record.line()],
        )

    @property
    def diverged(self) -> dict | None:
        """What is known of the next round, if its training diverged."""
        path = self.path / "diverged.json"
        found = read_json(path)
        if found is not None and not (
            isinstance(found, dict) and {"round", "reason"} <= found.keys()
        ):
            raise damaged(path, "it does not say which round diverged, and why")
        return found if found and found["round"] == len(self.rounds) else None

    def add_session(self, **facts) -> None:
        """Notes that a process begins to work here, and in which environment."""
        line = {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts}
        path = self.path / "sessions.jsonl"
        write_lines(path, [*read_lines(path), line])


def check_run_dir(path) -> None:
    """Raises a RunDirectoryError for a path that no run directory can have."""
    if problem := folder_problem(path):
        raise RunDirectoryError(
            f"Cannot write the run directory '{path}': {problem}. Choose one in a "
            "folder that you may write to."
        )


def check_same_start(path, settings: dict) -> None:
    """Raises a RunDirectoryError unless a run begins as `settings` do.

    It must have finished its initial training, with the data, net, recipe, seed,
    teacher and backend of `settings`.
    """
    path = pathlib.Path(path)
    known = read_settings(path)
    if known is None or not read_lines(path / "rounds.jsonl"):
        raise RunDirectoryError(
            f"'{path}' holds no run that has finished its initial training."
        )
    settings = json.loads(json.dumps(settings))
    keys = ["dataset", "initial", "model", "recipe", "compiled", "seed", "backend"]
    keys.append("teacher")
    if known.get("teacher") and settings.get("teacher"):
        keys.append("guidance")  # of the initial training, too
    changes = _changes(
        *({key: one.get(key) for key in keys} for one in (known, settings))
    )
    if changes:
        raise RunDirectoryError(
            f"The run in '{path}' begins in another way ({changes}), so its initial "
            "training cannot be taken over."
        )


def _changes(old, new):
    """What differs between two settings, in words; empty if nothing does."""
    old, new = _flatten(old), _flatten(new)
    changes = [
        _change(key, old.get(key), new.get(key))
        for key in sorted({*old, *new})
        if not _same(key, old.get(key), new.get(key))
    ]
    return "; ".join(dict.fromkeys(changes))


def _same(key, old, new):
    if key == "model.weights" and old and new:
        return weights_agree(old, new)
    if key.endswith("optimizer.module") and old and new:
        # A class of this package is known by its name; the file may have moved.
        if all(module.startswith("resprune_tf.") for module in (old, new)):
            return True
    return old == new


def _change(key, old, new):
    return _another(key.partition(".")[0]) or f"{key}: {old!r} there, {new!r} now"


def _another(name):
    """Why one setting of a run is not the same, without its value; None for others."""
    if name == "model":
        return "model: the run began with another model" + advice(
            ". Build it from the same seed (`keras.utils.set_random_seed` before the "
            f"model is made), or load `{INITIAL}`, the run's own"
        )
    if name == "criterion_code":
        return advice(
            "criterion_code: its code or the values that it uses are others. Give it "
            "a `__name__` of its own, and its name alone is compared",
            "criterion: it looks at other examples",
        )
    return None


def same_settings(old: dict, new: dict) -> bool:
    """Whether two run.json are of one run."""
    return not _changes(old, new)


def read_settings(run_dir) -> dict | None:
    """The settings of a run, or None if it has not begun.

    Raises:
        RunDirectoryError: if their file is damaged.
    """
    path = pathlib.Path(run_dir) / "run.json"
    settings = read_json(path)
    if settings is not None and not isinstance(settings, dict):
        raise damaged(path, "not a JSON object")
    return settings


def read_rounds(run_dir) -> list[Round]:
    """The finished rounds of a run.

    Raises:
        RunDirectoryError: if their file is damaged.
    """
    path, rounds = pathlib.Path(run_dir) / "rounds.jsonl", []
    for number, line in enumerate(read_lines(path)):
        try:
            rounds.append(Round.from_line(line))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise damaged(path, error, number + 1) from None
        if rounds[-1].round != number:
            raise damaged(path, f"round {rounds[-1].round} is out of place", number + 1)
    return rounds


def _flatten(value, prefix=""):
    if not isinstance(value, dict):
        return {prefix: value}
    flat = {}
    for key, inner in value.items():
        flat.update(_flatten(inner, f"{prefix}.{key}" if prefix else key))
    return flat
