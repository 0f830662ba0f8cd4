"""The flags of a recorded run, and whether data are those that it was trained on."""

import contextlib

from absl import flags
from absl.testing import flagsaver


@contextlib.contextmanager
def recorded_flags(folder, data_dir, experiment):
    """Context in which the flags have the values of a run.

    Args:
        folder: directory of the run or of its record.
        data_dir: folder of the data, or None for that of the run's command.
        experiment: the module that made the run, `cifar` or `imagenet`.
    """
    arguments = [f"--flagfile={folder / 'flags.txt'}"]
    if data_dir is not None:
        arguments.append(f"--data_dir={data_dir}")
    with flagsaver.flagsaver():
        flags.FLAGS([folder.name, *arguments])
        experiment.apply_scale()
        yield


def check_data(dataset, settings):
    """Checks a data set against the settings of a run.

    Args:
        dataset: `Dataset`.
        settings: dict, the content of the run's run.json.

    Raises:
        ValueError: if the data have another fingerprint.
    """
    used = settings["dataset"]
    if dataset.fingerprint != used.get("fingerprint"):
        raise ValueError(
            f"These are not the data of the run: {dataset.name} has the fingerprint "
            f"{dataset.fingerprint}, but {used['name']} of the run has "
            f"{used.get('fingerprint')}. Give the data of the run with --data_dir."
        )
