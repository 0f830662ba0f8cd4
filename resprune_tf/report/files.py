"""The list of the files in a run directory."""

from resprune_tf.system.disk import size_of

# From path to content. The models of rounds and exports are added to these.
_CONTENTS = {
    "pruned.keras": "pruned model",
    "summary.json": "result as JSON",
    "models/initial.keras": "model as it was passed",
    "rounds.jsonl": "records of the rounds",
    "history.jsonl": "records of the epochs",
    "final.json": "record of the result",
}


def list_files(run, folder):
    """Lists the existing files of a run.

    Args:
        run: the `RunRecords` of the run.
        folder: pathlib.Path of the run directory.

    Returns:
        list of tuples: path in the directory, description of the content, and size in
        bytes.
    """
    contents = dict(_CONTENTS)
    for r in run.rounds:
        if "model" in r:
            mark = ", selected" if r is run.selected else ""
            contents[r["model"]] = f"model after round {r['round']}{mark}"
    if (folder / "export").is_dir():
        for path in sorted((folder / "export").iterdir()):
            contents[f"export/{path.name}"] = "exported model"
    return [
        (name, content, size_of(folder / name))
        for name, content in contents.items()
        if (folder / name).exists()
    ]
