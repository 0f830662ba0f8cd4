"""Settings of a run, given flat."""

import dataclasses

import resprune_tf as rp

REMOVAL = {field.name for field in dataclasses.fields(rp.Removal)}
RUN = {field.name for field in dataclasses.fields(rp.RunOptions)}


def options(**settings):
    """Arguments of `prune_and_retrain`: fields of `Removal` and `RunOptions` in these.

    `run_dir` is the directory of the run; a run is quiet unless it is told otherwise.
    """
    if "run_dir" in settings:
        settings["directory"] = settings.pop("run_dir")
    settings = {"verbose": False, **settings}
    removal = {name: settings.pop(name) for name in REMOVAL & settings.keys()}
    run = {name: settings.pop(name) for name in RUN & settings.keys()}
    return {
        "removal": rp.Removal(**removal),
        "run": rp.RunOptions(**run),
        **settings,
    }
