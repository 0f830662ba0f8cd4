"""Rebuilds the importances ω before any training, for Figure 6.

    python -m experiments.initial_values cifar10/c10-k2-seed0 ... --data_dir=DATA

A run does not record them, but its seed determines them. The names are folders of
records; their runs must have used the backend of this call (`KERAS_BACKEND`). Writes
`records/initial_values/BACKEND.json`.
"""

import argparse
import sys

from absl import flags

from experiments import cifar
from experiments.pages import manifest
from experiments.pages.library import RunRecords
from experiments.pages.results import RECORDS
from experiments.running import quiet, run_flags
from experiments.running.recorded_data import recorded_flags

FOLDER = "initial_values"


def initial_values(record, data_dir=None):
    """The ω of each unit of a run's model before the initial training.

    Args:
        record: folder of the record.
        data_dir: folder of the data, as in the run's command.

    Returns:
        dict from unit to float.

    Raises:
        ValueError: if the rebuilt model is not that of the run.
    """
    with quiet.quiet_start():
        import keras

        import resprune_tf as rp
        from resprune_tf.pruning.identity import model_identity
        from resprune_tf.system.checksum import weights_agree

    with recorded_flags(record, data_dir, cifar):
        dataset = cifar.load_dataset()
        keras.utils.set_random_seed(run_flags.SEED.value)
        model = cifar.build_model(dataset)
    settings = RunRecords.read(record).settings
    found, recorded = model_identity(model), settings.get("model", {})
    if not weights_agree(recorded.get("weights", [0.0]), found["weights"]):
        raise ValueError(
            f"The model that is rebuilt from {record}/flags.txt is not the one that "
            f"the run began with. The run used the backend {settings['backend']}, this "
            f"call {keras.backend.backend()}; set KERAS_BACKEND to that of the run."
        )
    return rp.importances(model)


def main(argv):
    parser = argparse.ArgumentParser(
        prog="python -m experiments.initial_values",
        description="Rebuilds the importances of recorded runs before any training, "
        "for Figure 6.",
    )
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help="record, such as cifar10/c10-k2-seed0"
    )
    parser.add_argument("--data_dir", help="folder of the data sets")
    arguments = parser.parse_args(argv)
    try:
        runs = {
            name: initial_values(RECORDS / name, arguments.data_dir)
            for name in arguments.names
        }
    except (OSError, ValueError, flags.Error) as error:
        sys.exit(f"error: {error}")
    from resprune_tf.runs.environment import environment

    found = environment()
    path = RECORDS / FOLDER / f"{found['backend']}.json"
    runs = {**manifest.read_record(path).get("runs", {}), **runs}
    content = {"environment": found, "runs": dict(sorted(runs.items()))}
    manifest.write_record(path, content)
    print(f"{path}: written. Then run `make reproduce-figure6`.")


if __name__ == "__main__":
    main(sys.argv[1:])
