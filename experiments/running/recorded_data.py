"""Whether data are those that a run was trained on."""


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
