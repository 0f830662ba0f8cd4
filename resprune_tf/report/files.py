"""The files that a run has written, and what they hold."""

# By their path in the run directory; besides these, models of rounds and exports.
_CONTENTS = {
    "pruned.keras": "pruned model, of Keras's own layers",
    "summary.json": "the result for programs",
    "models/initial.keras": "model as it was given",
    "rounds.jsonl": "records of the rounds",
    "history.jsonl": "records of the epochs",
    "final.json": "record of the result",
}


def written(run, folder):
    """The files of a run directory that are there.

    Args:
        run: its `RunRecords`.
        folder: pathlib.Path of the directory.

    Returns:
        list of `(path, content in words, bytes)`.
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
        (name, content, _size(folder / name))
        for name, content in contents.items()
        if (folder / name).exists()
    ]


def _size(path):
    """Bytes of a file, or of the files in a folder."""
    inside = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in inside if each.is_file())
