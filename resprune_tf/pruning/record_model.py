"""Loads trained models of committed records or run directories by name."""

from __future__ import annotations

import os
import pathlib

import keras

from resprune_tf.pruning.run_check import load_run_model
from resprune_tf.runs.records import read_rounds
from resprune_tf.system.whole_files import damaged, read_json


def load_record_model(
    name: str | os.PathLike,
    round: int | None = None,
    *,
    records: str | os.PathLike = "records",
) -> keras.Model:
    """Loads a trained model of a committed record, or of a run directory.

    Records are part of the repository, not of the installed package. Call this in a
    checkout, or pass the path of its folder `records`. No code from the file is
    executed: the file is checked first, and Keras loads it in safe mode.

    Args:
        name: folder of the record below `records`, such as `"digits/small-seed0"`, or
            the path of a run directory.
        round: int, number of the round. Defaults to the selected round. Records contain
            the models of round 0 and of the selected round; small records contain more.
        records: path of the folder `records` of a checkout. Defaults to `records` in
            the working directory.

    Returns:
        A `keras.Model`, not compiled. Models of records map pixels (0 to 255) of shape
        `(batch, height, width, channels)` to logits of shape `(batch, classes)`.

    Raises:
        ValueError: if the folder, record, round or model does not exist. The message
            lists those that exist.
        RunDirectoryError: (a ValueError) if a file of the record is damaged.

    >>> model = rp.load_record_model("digits/small-seed0")
    >>> logits = model.predict(images)
    """
    records = pathlib.Path(records)
    folders = records / name, pathlib.Path(name)
    folder = next((f for f in folders if (f / "rounds.jsonl").is_file()), None)
    if folder is None:
        raise ValueError(_no_record(records, name))
    rounds = read_rounds(folder)
    if round is None:
        round = _selected(folder)
    found = [each for each in rounds if (folder / each.model).is_file()]
    chosen = next((each for each in found if each.round == round), None)
    if chosen is None:
        numbers = ", ".join(str(each.round) for each in found) or "no round"
        raise ValueError(
            f"The record '{folder}' contains no model of round {round!r}. It contains "
            f"models of: {numbers}."
            + ("" if found else f" {_with_models(records)}")
            + " To train it, repeat the run with the flags in its flags.txt."
        )
    return load_run_model(folder / chosen.model, chosen)


def _selected(folder):
    final = read_json(folder / "final.json")
    if final is None:
        raise ValueError(
            f"The run in '{folder}' is not finished, so no round is selected. Pass "
            "`round`."
        )
    if not isinstance(final, dict) or "selected_round" not in final:
        raise damaged(folder / "final.json", "it does not contain `selected_round`")
    return final["selected_round"]


def _no_record(records, name):
    if not records.is_dir():
        return (
            f"There is no folder records='{records}' in {pathlib.Path.cwd()}. Records "
            "are part of the repository. Call this in a checkout, or pass "
            "records='CHECKOUT/records'."
        )
    return f"There is no record '{name}' in '{records}'. {_with_models(records)}"


def _with_models(records):
    names = sorted({path.parents[1] for path in records.glob("*/*/models/*.keras")})
    names = [path.relative_to(records).as_posix() for path in names]
    return f"Records with models: {', '.join(names) or 'none'}."
