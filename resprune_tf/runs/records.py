"""The files of a run directory, which survive any crash. Pure Python.

Every write goes to a temporary file that is synced and renamed, so a reader always
finds either the old or the new content, never an incomplete file.

    run.json          settings; a run continues only with the same settings
    sessions.jsonl    one line per process that worked on the run
    rounds.jsonl      one line per finished round (`Round`)
    history.jsonl     one line per trained epoch of the finished rounds
    final.json        the outcome of a finished run
    models/           initial.keras, round-00.keras, ...: the model after each round;
                      teacher.keras, if the user passed a teacher
    state.npz         the round in training, after its last saved epoch
    diverged.json     the round whose training diverged, which ended the run, and why
    status.json       the progress of the training, for other processes to read
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
# Settings that only select among the rounds. They may differ when a run continues.
JUDGING = ("tolerance",)
SPLITS = ("train", "validation", "test")
_FAILED = "failed"  # replaces the checksum of a criterion that raised an error


def model_name(number: int) -> str:
    """Name of the model file of a round in its run directory."""
    return f"models/round-{number:02}.keras"


@dataclasses.dataclass(frozen=True)
class Round:
    """The record of one round of training. The initial training is round 0.

    Attributes:
        round: number of the round.
        removed: names of the units that were removed before the training.
        units: names of the remaining units.
        layers, parameters, macs: cost of the model, as in `Cost`.
        importances: dict from unit name to ω after the training.
        scores: dict from unit name to the criterion's score for the next removal.
        epochs: number of epochs of the training.
        train, validation, test: dicts from measure to value: `"loss"` and `"accuracy"`
            (a fraction), or the metrics that the model was compiled with. Those of
            `train` are means over the last epoch. `test` is empty without test data.
        seconds: wall time of the round.
        model: path of the model file in the run directory.
        measured: dict with `file_bytes` and `file_ratio`, or `latency_ms` and
            `latency_ratio`, if the target limits file size or latency. The ratios refer
            to the initial model.
        recalibrated: number of training examples from which the statistics of
            BatchNormalization were estimated again after a short training; 0 if the
            statistics of the training were kept.
        correct: dict from split to the examples that a classifier classifies correctly:
            one bit per example, the first example being the highest bit of the first
            of the hexadecimal digits, padded with zeros at the end. Empty if this is
            unknown, as for a `tf.data.Dataset`.
        kept: dict from each unit that cannot be removed to the reason; in round 0 only.
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
        """Returns a measure on `"train"`, `"validation"` or `"test"`."""
        return getattr(self, split)[name]

    def line(self) -> dict:
        """Returns the JSON object for rounds.jsonl, with keys as `test_accuracy`."""
        line = {}
        for name, value in dataclasses.asdict(self).items():
            if name in SPLITS:
                line.update({f"{name}_{measure}": v for measure, v in value.items()})
            elif name not in _OPTIONAL or value:
                line[name] = value
        return line

    @classmethod
    def from_line(cls, line: dict) -> Round:
        """Creates a round from its JSON object in rounds.jsonl.

        Raises:
            ValueError, TypeError, KeyError: if the object is not a valid round.
        """
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
        # The name is used as a path to read and write, so only this one is accepted.
        if found.model != model_name(found.round):
            raise ValueError(
                f"the model of round {found.round} must be "
                f"'{model_name(found.round)}', not {found.model!r}"
            )
        return found


_OPTIONAL = ("measured", "recalibrated", "correct", "kept")
_COUNTS = ("round", "layers", "parameters", "macs", "epochs", "recalibrated")


class RunDirectory:
    """The files of a run. A context manager that locks the directory for one process.

    Args:
        path: path of the directory, which is created on entry.

    Raises (on entry):
        RunDirectoryError: if the directory cannot be written, or if another process
            has locked it.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._lock = filelock.FileLock(self.path / "lock")

    def __enter__(self):
        try:
            with writing(self.path):
                (self.path / "models").mkdir(parents=True, exist_ok=True)
                # The system releases the lock when the process ends, even by kill -9.
                self._lock.acquire(blocking=False)
        except filelock.Timeout:
            raise RunDirectoryError(
                f"Another process is working in '{self.path}'. Wait until it ends, "
                "stop it, or choose another run directory."
            ) from None
        except DiskFullError:
            raise
        except OSError as error:
            raise RunDirectoryError(
                f"Cannot write the run directory '{self.path}': {error.strerror}. "
                f"{_WRITABLE}"
            ) from None
        for folder in (self.path, self.path / "models"):
            remove_left_behind(folder)
        return self

    def __exit__(self, *exception):
        self._lock.release()

    def claim(self, settings: dict) -> None:
        """Writes the settings of a new run, or checks those of a run that continues.

        Settings that only judge rounds (`JUDGING`) are replaced. If they change, the
        outcome is deleted, because it depends on them.

        Raises:
            RunDirectoryError: if the directory contains a run with other settings, or
                rounds without settings.
        """
        settings = json.loads(json.dumps(settings))
        recorded = read_settings(self.path)
        if recorded is None:
            if (self.path / "rounds.jsonl").exists():
                raise RunDirectoryError(
                    f"'{self.path}' contains rounds.jsonl but no run.json, so the run "
                    "cannot be continued. Choose another run directory."
                )
            write_json(self.path / "run.json", settings)
            return
        judging = {name: settings[name] for name in JUDGING if name in settings}
        updated = {**recorded, **judging}
        if updated.get("criterion_code") == _FAILED:
            updated["criterion_code"] = settings.get("criterion_code")
        changes = _changes(updated, settings)
        if changes:
            raise RunDirectoryError(
                f"'{self.path}' contains a run with other settings ({changes}). Choose "
                "another run directory, or pass the settings of that run to continue "
                "it."
            )
        if updated != recorded:
            (self.path / "final.json").unlink(missing_ok=True)
            write_json(self.path / "run.json", updated)

    def release_criterion(self) -> None:
        """Allows the run to continue with corrected code of its failed criterion."""
        settings = read_settings(self.path)
        if "criterion_code" in settings:
            write_json(self.path / "run.json", {**settings, "criterion_code": _FAILED})

    @property
    def rounds(self) -> list[Round]:
        """The finished rounds."""
        return read_rounds(self.path)

    def add_round(self, record: Round, history: list[dict]) -> None:
        """Appends a finished round, which is complete with its line in rounds.jsonl."""
        earlier = [
            line
            for line in read_lines(self.path / "history.jsonl")
            if line["round"] < record.round
        ]
        lines = [{"round": record.round, **epoch} for epoch in history]
        if earlier or lines:  # a reused round 0 may come from a run without history
            write_lines(self.path / "history.jsonl", earlier + lines)
        write_lines(
            self.path / "rounds.jsonl",
            [*read_lines(self.path / "rounds.jsonl"), record.line()],
        )

    @property
    def diverged(self) -> dict | None:
        """The content of diverged.json if the next round diverged, else None."""
        path = self.path / "diverged.json"
        found = read_json(path)
        if found is not None and not (
            isinstance(found, dict) and {"round", "reason"} <= found.keys()
        ):
            raise damaged(path, "it does not contain `round` and `reason`")
        return found if found and found["round"] == len(self.rounds) else None

    def add_session(self, **facts) -> None:
        """Records that a process begins to work here, with its environment."""
        line = {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts}
        path = self.path / "sessions.jsonl"
        write_lines(path, [*read_lines(path), line])


_WRITABLE = "Choose another run directory, in a folder that you may write to."


def check_run_dir(path) -> None:
    """Raises a RunDirectoryError if a run directory cannot be written at `path`."""
    if problem := folder_problem(path):
        raise RunDirectoryError(
            f"Cannot write the run directory '{path}': {problem}. {_WRITABLE}"
        )


def check_same_start(path, settings: dict) -> None:
    """Raises a RunDirectoryError unless the run in `path` has the same round 0.

    It must have finished its initial training, with the data, model, recipe, seed,
    teacher and backend of `settings`.
    """
    path = pathlib.Path(path)
    recorded = read_settings(path)
    if recorded is None or not read_lines(path / "rounds.jsonl"):
        raise RunDirectoryError(
            f"'{path}' contains no run that has finished its initial training. Choose "
            "the directory of another run, or train round 0 in this run."
        )
    settings = json.loads(json.dumps(settings))
    keys = "dataset initial model recipe compiled seed backend teacher".split()
    if recorded.get("teacher") and settings.get("teacher"):
        keys.append("guidance")  # it then affects the initial training too
    changes = _changes(
        *({key: one.get(key) for key in keys} for one in (recorded, settings))
    )
    if changes:
        raise RunDirectoryError(
            f"The initial training of the run in '{path}' has other settings "
            f"({changes}), so it cannot be reused. Choose another run to start from, "
            "or pass the settings of that run."
        )


_OTHER_UNITS = (
    "other units were found in the same model: if it has merges or units of your own, "
    "call `register_merge` and `register_unit` as before"
)


def _changes(old, new):
    """The differences between two settings as text; empty if they are the same."""
    old, new = _flatten(old), _flatten(new)
    keys = [k for k in sorted({*old, *new}) if not _same(k, old.get(k), new.get(k))]
    if any(key.startswith("dataset.") for key in keys):
        # A criterion may use examples of the data.
        keys = [key for key in keys if key != "criterion_code"]
    changes = [_change(key, old.get(key), new.get(key)) for key in keys]
    if "initial.units" in keys and not any(key.startswith("model") for key in keys):
        changes.append(_OTHER_UNITS)
    return "; ".join(dict.fromkeys(changes))


def _same(key, old, new):
    if key == "model.weights" and old and new:
        return weights_agree(old, new)
    return old == new


def _change(key, old, new):
    return _explained(key.partition(".")[0]) or f"{key}: {old!r} there, {new!r} now"


def _explained(name):
    """The message for settings whose values are checksums; None for other settings."""
    if name == "model":
        return "model: the run began with another model" + advice(
            ". Build the model with the same seed (call `keras.utils.set_random_seed` "
            f"first), or load the model of the run from `{INITIAL}`"
        )
    if name == "criterion_code":
        return advice(
            "criterion_code: the code of the criterion or the values that it uses have "
            "changed. If you set its `__name__`, only the name is compared",
            "criterion: it is computed on other examples",
        )
    return None


def same_settings(old: dict, new: dict) -> bool:
    """Whether the settings of two run.json files belong to the same run."""
    return not _changes(old, new)


def read_settings(run_dir) -> dict | None:
    """Reads the settings of a run; None if it has not begun.

    Raises:
        RunDirectoryError: if run.json is damaged.
    """
    path = pathlib.Path(run_dir) / "run.json"
    settings = read_json(path)
    if settings is not None and not isinstance(settings, dict):
        raise damaged(path, "it is not a JSON object")
    return settings


def read_rounds(run_dir) -> list[Round]:
    """Reads the finished rounds of a run.

    Raises:
        RunDirectoryError: if rounds.jsonl is damaged.
    """
    path, rounds = pathlib.Path(run_dir) / "rounds.jsonl", []
    for number, line in enumerate(read_lines(path)):
        try:
            rounds.append(Round.from_line(line))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise damaged(path, error, number + 1) from None
        if rounds[-1].round != number:
            found = rounds[-1].round
            reason = f"it is of round {found}, but round {number} is expected"
            raise damaged(path, reason, number + 1)
    return rounds


def _flatten(value, prefix=""):
    if not isinstance(value, dict):
        return {prefix: value}
    flat = {}
    for key, inner in value.items():
        flat.update(_flatten(inner, f"{prefix}.{key}" if prefix else key))
    return flat
