"""The initial model of a committed run, and the data set that it was trained on."""

from experiments.pages.library import RunRecords
from experiments.running.recorded_data import check_data
from resprune_tf.data.loading import load_dataset
from resprune_tf.pruning.record_model import load_record_model


def read(folder, data_dir):
    """Reads the model of round 0 and the data set of a record.

    Args:
        folder: path of the record.
        data_dir: folder of the data set.

    Returns:
        `keras.Model` from pixels to logits, `Dataset`, and the recorded test accuracy.

    Raises:
        ValueError: if there is no such record, it contains no model of round 0, or the
            data are not those of the run.
    """
    name = f"{folder.parent.name}/{folder.name}"
    model = load_record_model(name, 0, records=folder.parents[1])
    run = RunRecords.read(folder)
    settings = run.settings
    dataset = load_dataset(settings["dataset"]["name"], data_dir, seed=settings["seed"])
    check_data(dataset, settings)
    return model, dataset, run.rounds[0]["test_accuracy"]
