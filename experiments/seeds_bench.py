"""Measures several seeds one after another, and side by side in one program (JAX).

    KERAS_BACKEND=jax python -m experiments.seeds_bench --members=3

Nets that really lost their units are smaller, but each is compiled anew in every round.
Side by side, all rounds of all seeds run in one program, whose lost units are silenced.
Here both are timed on images of noise and extrapolated to a whole experiment. Every
part has a process of its own; those that the time budget leaves no room for are left
out.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from experiments.seeds_numbers import PARTS, conclusion, table

_ROOT = pathlib.Path(__file__).parent.parent
_DEPTH = flags.DEFINE_integer("depth", 56, "Layers of the net: 9n+2.", 20)
_WIDTH = flags.DEFINE_integer("width", 16, "Its inner channels in the first stage.", 1)
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 32, "Pixels of an image's side.", 8)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images a step.", 1)
_STEPS = flags.DEFINE_integer("steps", 390, "Steps an epoch.", 1)
_EPOCHS = flags.DEFINE_integer("epochs", 2, "Epochs to time after the first.", 1)
_MEMBERS = flags.DEFINE_integer("members", 3, "Seeds.", 1)
_EVALUATE = flags.DEFINE_integer("evaluate_images", 5000, "Images of a split.", 1)
_PRECISION = flags.DEFINE_enum(
    "precision", "float32", ["float32", "bfloat16"], "Of the training."
)
_FIRST = flags.DEFINE_integer("first_epochs", 200, "Epochs of the first training.", 1)
_ROUND = flags.DEFINE_integer("round_epochs", 60, "Epochs of a retraining.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 8, "Removals of the experiment.", 1)
_UNITS = flags.DEFINE_integer("units_per_round", 1, "Units lost in each.", 1)
_CHOSEN = flags.DEFINE_list("parts", list(PARTS), "What to measure.")
_OUT = flags.DEFINE_string("out", "runs/seeds_bench.json", "Record to write.")
_BUDGET = flags.DEFINE_float(
    "time_budget_minutes", None, "End by then, whatever is done. Default: no end.", 0
)


def main(argv):
    if len(argv) > 1:
        sys.exit(f"error: unexpected argument {argv[1]!r}; see --helpshort")
    if (_DEPTH.value - 2) % 9:
        sys.exit(f"error: --depth must be 9n+2. Received: {_DEPTH.value}.")
    if unknown := set(_CHOSEN.value) - set(PARTS):
        sys.exit(f"error: no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    removable = 3 * ((_DEPTH.value - 2) // 9 - 1)
    if _ROUNDS.value * _UNITS.value > removable:
        sys.exit(
            f"error: a net of {_DEPTH.value} layers can lose {removable} units. "
            f"Received: --rounds={_ROUNDS.value} --units_per_round={_UNITS.value}."
        )
    end = float("inf")
    if _BUDGET.value is not None:
        end = time.monotonic() + 60 * _BUDGET.value
    record = {"settings": settings(), "parts": {}}
    out = pathlib.Path(_OUT.value)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        for name in (part for part in PARTS if part in _CHOSEN.value):
            print(f"{PARTS[name]} ...", flush=True)
            found, *lines, status = measure(name, record["settings"], cache, end)
            record |= found
            record["parts"][name] = {"status": status, "measured": lines}
            record["conclusion"] = conclusion(record)
            out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\n{table(record)}\n\n{out}: written")
    if not any(part["measured"] for part in record["parts"].values()):
        sys.exit(1)


def settings():
    """What the workers are told, and what the conclusion is drawn for."""
    return {
        **{
            flag.name: flag.value
            for flag in (
                _DEPTH,
                _WIDTH,
                _IMAGE_SIZE,
                _BATCH_SIZE,
                _STEPS,
                _EPOCHS,
                _MEMBERS,
                _PRECISION,
                _FIRST,
                _ROUND,
                _ROUNDS,
                _UNITS,
            )
        },
        "evaluate_images": _EVALUATE.value,
        # As in the middle of the experiment.
        "removed": max(1, _ROUNDS.value * _UNITS.value // 2),
    }


def measure(name, settings, cache, end):
    """Runs a part until its end, or that of the time.

    Returns:
        What is known of the machine, then what was measured, then how it ended.
    """
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        # A net is small; the memory of an accelerator is not to be taken whole.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    if name.startswith("reuse"):
        environment["JAX_COMPILATION_CACHE_DIR"] = cache
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    part = name.removesuffix(" again")
    command = [sys.executable, "-m", "experiments.seeds_worker", part]
    left = None if end == float("inf") else max(0.0, end - time.monotonic())
    try:
        done = subprocess.run(
            [*command, json.dumps(settings)],
            cwd=_ROOT,
            env=environment,
            capture_output=True,
            timeout=left,
        )
        output, status = done.stdout, "measured"
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().splitlines()
            status = f"failed: {reason[-1] if reason else done.returncode}"
    except subprocess.TimeoutExpired as error:
        output, status = error.stdout or b"", "out of time"
    # The last line may be half written.
    lines = output.decode().rpartition("\n")[0].splitlines()
    return [*(map(json.loads, lines) if lines else [{}]), status]


if __name__ == "__main__":
    app.run(main)
