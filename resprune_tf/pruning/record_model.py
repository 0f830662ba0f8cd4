"""Trained models of records: what a finished run selected, loaded by name."""

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

    Records are part of the repository, not of the installed package: call this in a
    checkout, or state where its folder `records` lies. No code from the file is run:
    it is checked before Keras reads it, and Keras loads it in safe mode.

    Args:
        name: folder of the record below `records`, such as `"digits/small-seed0"`; or
            the absolute path of a run directory.
        round: number of the round; by default the selected one. Records hold the
            models of round 0 and of the selected round, small ones more.
        records: folder of the records: `records` in a checkout, by default that in the
            working directory.

    Returns:
        The `keras.Model`, not compiled: from pixels (0 to 255), `[N, H, W, C]`, to
        logits, `[N, classes]`.

    Raises:
        ValueError: if there is no such folder, record, round or model; the error lists
            those that exist.
        RunDirectoryError: (a ValueError) if a file of the record is damaged.

    >>> model = rp.load_record_model("digits/small-seed0")
    >>> logits = model.predict(images)
    """
    records = pathlib.Path(records)
    folder = records / name
    if not (folder / "rounds.jsonl").is_file():
        raise ValueError(_no_record(records, name))
    rounds = read_rounds(folder)
    if round is None:
        round = _selected(folder)
    found = [each for each in rounds if (folder / each.model).is_file()]
    chosen = next((each for each in found if each.round == round), None)
    if chosen is None:
        numbers = ", ".join(str(each.round) for each in found) or "no round"
        raise ValueError(
            f"The record '{folder}' holds no model of round {round!r}. It holds models "
            f"of: {numbers}."
            + ("" if found else f" {_with_models(records)}")
            + " The flags in its flags.txt repeat the run."
        )
    return load_run_model(folder / chosen.model, chosen)


def _selected(folder):
    final = read_json(folder / "final.json")
    if final is None:
        raise ValueError(
            f"The run of '{folder}' is not finished, so no round is selected. Give "
            "`round`."
        )
    if not isinstance(final, dict) or "selected_round" not in final:
        raise damaged(folder / "final.json", "it does not say which round was selected")
    return final["selected_round"]


def _no_record(records, name):
    if not records.is_dir():
        return (
            f"There is no folder records='{records}' in {pathlib.Path.cwd()}. Records "
            "are part of the repository: call this in its checkout, or give "
            "records='CHECKOUT/records'."
        )
    return f"There is no record '{name}' in '{records}'. {_with_models(records)}"


def _with_models(records):
    names = sorted({path.parents[1] for path in records.glob("*/*/models/*.keras")})
    names = [path.relative_to(records).as_posix() for path in names]
    return f"Records with models: {', '.join(names) or 'none'}."
