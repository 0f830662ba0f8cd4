"""Measures what each unit of the initial model of a run adds, for Figure 5.

    python -m experiments.unit_norms runs/c10-k2-quarter-seed0 --data_dir=DATA

Uses the model after round 0 of a CIFAR run, finished or not, and the images that the
run held out of training. The folder is a run directory, or a record with models. Writes
`unit_norms.json` to it; from a run directory, `experiments.record` copies it, so
measure first and then record the run. `resprune_tf.criteria.sensitivity.UnitNorms`
explains the norms.
"""

import argparse
import dataclasses
import pathlib
import sys

from absl import flags

from experiments import cifar
from experiments.pages import manifest
from experiments.pages.library import RunRecords
from experiments.running import quiet
from experiments.running.recorded_data import check_data, recorded_flags

NAME = "unit_norms.json"


def measure(run_dir, data_dir=None):
    """Measures the initial model of a run and writes the record.

    Args:
        run_dir: directory of a run of `experiments.cifar`, with its models.
        data_dir: folder of the data, as in the run's command.

    Returns:
        `pathlib.Path` of the file.

    Raises:
        ValueError: if there is no such run, its initial model is not trained yet, or
            the data are not those of the run.
    """
    run_dir = pathlib.Path(run_dir)
    run = RunRecords.read(run_dir)
    if (
        not run.rounds
        or not (model := run_dir / run.rounds[0].get("model", "")).is_file()
    ):
        raise ValueError(
            f"'{run_dir}' has no initial model: either round 0 is not finished, or "
            "this is a record without models. Give the run directory."
        )
    with quiet.quiet_start():
        from resprune_tf.criteria.sensitivity import unit_norms
        from resprune_tf.system.model_files import load_model

    with recorded_flags(run_dir, data_dir, cifar):
        dataset = cifar.load_dataset()
    check_data(dataset, run.settings)
    images = dataset.validation.images
    norms = unit_norms(load_model(model, compile=False), images)
    path = run_dir / NAME
    manifest.write_record(
        path,
        {
            "round": 0,
            "split": "validation",
            "images": len(images),
            "units": {unit: dataclasses.asdict(norm) for unit, norm in norms.items()},
        },
    )
    return path


def main(argv):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.unit_norms",
        description="Measures what each residual unit of a run's initial model adds to "
        "its shortcut, for Figure 5.",
    )
    parser.add_argument(
        "run_dir", metavar="RUN_DIR", help="run directory, or a record with models"
    )
    parser.add_argument("--data_dir", help="folder of the data set")
    arguments = parser.parse_args(argv)
    try:
        path = measure(arguments.run_dir, arguments.data_dir)
    except (ValueError, flags.Error) as error:
        sys.exit(f"error: {error}")
    print(
        f"{path}: written. If this is a run directory, record the run with `python -m "
        "experiments.record`. Then run `make reproduce-figure5`."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
