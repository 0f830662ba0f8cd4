"""Measures what each unit of a run's initial net adds: the points of Figure 5.

    python -m experiments.unit_norms runs/c10-k2-quarter-seed0 --data_dir=DATA

Takes the net after round 0 of a CIFAR run, finished or going, and the images that the
run held out of training, and writes `unit_norms.json` into the run's directory, where
`experiments.record` finds it: measure first, then keep the record. Norms are explained
in `resprune_tf.criteria.sensitivity.UnitNorms`.
"""

import argparse
import dataclasses
import pathlib
import sys

from absl import flags
from absl.testing import flagsaver

from experiments import cifar
from experiments.pages import manifest
from experiments.pages.library import RunRecords
from experiments.running import quiet

NAME = "unit_norms.json"


def measure(run_dir, data_dir=None):
    """Measures the initial net of a run and writes the record.

    Args:
        run_dir: directory of a run of `experiments.cifar`, with its models.
        data_dir: folder of the data, as in the run's command.

    Returns:
        `pathlib.Path` of the file.

    Raises:
        ValueError: if there is no such run, it has not trained its initial net yet, or
            the data are not those that it held out.
    """
    run_dir = pathlib.Path(run_dir)
    run = RunRecords.read(run_dir)
    if (
        not run.rounds
        or not (model := run_dir / run.rounds[0].get("model", "")).is_file()
    ):
        raise ValueError(
            f"'{run_dir}' holds no initial net: round 0 is not finished, or these are "
            "the records of a run without its models."
        )
    with quiet.quiet_start():
        from resprune_tf.criteria.sensitivity import unit_norms
        from resprune_tf.system.model_files import load_model
        from resprune_tf.system.whole_files import write_json

    dataset, used = _dataset(run_dir, data_dir), run.settings["dataset"]
    if dataset.fingerprint != used.get("fingerprint"):
        raise ValueError(
            f"These are not the data of the run: {dataset.name} has the fingerprint "
            f"{dataset.fingerprint}, the run's {used['name']} "
            f"{used.get('fingerprint')}."
        )
    images = dataset.validation.images
    norms = unit_norms(load_model(model, compile=False), images)
    path = run_dir / NAME
    write_json(
        path,
        {
            "round": 0,
            "split": "validation",
            "images": len(images),
            "units": {unit: dataclasses.asdict(norm) for unit, norm in norms.items()},
        },
    )
    manifest.note(path)
    return path


def _dataset(run_dir, data_dir):
    """The data set of a run, by the flags on its record."""
    arguments = [f"--flagfile={run_dir / 'flags.txt'}"]
    if data_dir is not None:
        arguments.append(f"--data_dir={data_dir}")
    with flagsaver.flagsaver():
        flags.FLAGS(["unit_norms", *arguments])
        cifar.apply_scale()
        return cifar.load_dataset()


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
    print(f"{path}: written; keep the run's record, then reproduce figure5")


if __name__ == "__main__":
    main(sys.argv[1:])
