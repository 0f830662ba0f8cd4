"""Compares two runs seed by seed, such as a pruning run and its control.

    python -m experiments.compare RUN CONTROL [--selected]

RUN and CONTROL are folders of finished runs or records without `-seed0`, such as
`records/cifar10/c10-k2-quarter` and `records/cifar10/c10-random-quarter`. The models of
the last round are compared, or, with --selected, those that were selected. Accuracies
and differences (run minus control) are in % and percentage points, the interval of the
mean is a 95 % t interval over the seeds. *Control wrong*, *control right*: images that
the control alone classifies wrongly or correctly, with p of McNemar's exact test of two
trained models, which does not show what another seed would give.
"""

import argparse
import glob
import os
import pathlib
import re
import sys

from experiments.pages.cells import percent, points
from experiments.pages.differences import image_by_image, pair, summarize
from experiments.pages.library import RunRecords
from experiments.pages.results import markdown_table

_SPLITS = {"test": "test_accuracy", "held-out": "validation_accuracy"}


def runs_of(path):
    """The finished runs in the folders `PATH-seed0`, `PATH-seed1` and so on.

    Args:
        path: path of their folders without the seed.

    Returns:
        dict from seed to `RunRecords`.

    Raises:
        ValueError: if there is none.
    """
    path, found = pathlib.Path(path), {}
    for folder in path.parent.glob(f"{glob.escape(path.name)}-seed*"):
        seed = re.fullmatch(r"-seed(\d+)", folder.name.removeprefix(path.name))
        if seed and (folder / "final.json").is_file():
            found[int(seed[1])] = RunRecords.read(folder)
    if not found:
        raise ValueError(
            f"there is no finished run in a folder '{path}-seed0', '{path}-seed1' and "
            "so on. Give the path without the seed."
        )
    return found


def comparison(first, second, selected=False):
    """The comparison of two runs as text.

    Args:
        first, second: dicts from seed to `RunRecords`.
        selected: whether the selected models are compared instead of the last.

    Raises:
        ValueError: if no seed has both runs, if the data of a seed differ, or if no
            split has the accuracies of all runs.
    """
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise ValueError(
            f"no seed has both runs: {sorted(first)} and {sorted(second)}."
        )
    for seed in seeds:  # which images are held out may depend on the seed
        data, other = (runs[seed].settings["dataset"] for runs in (first, second))
        if data != other:
            raise ValueError(
                f"the runs of seed {seed} have different data: {data} and {other}."
            )
    pairs = {
        seed: [
            runs[seed].selected if selected else runs[seed].rounds[-1]
            for runs in (first, second)
        ]
        for seed in seeds
    }
    rows = []
    for words, name in _SPLITS.items():
        if not all(name in record for both in pairs.values() for record in both):
            continue  # no such images, or another metric
        accuracies = [
            {seed: both[place][name] for seed, both in pairs.items()}
            for place in (0, 1)
        ]
        means = (percent(summarize(each.values())) for each in accuracies)
        rows.append([words, *means, points(pair(*accuracies))])
    if not rows:
        raise ValueError(
            "the runs have no accuracies in common: their rounds record other metrics."
        )
    parts = [
        ", ".join(
            f"seed {seed}: {both[0]['layers']} and {both[1]['layers']} layers"
            for seed, both in pairs.items()
        ),
        markdown_table(["images", "run", "control", "run minus control"], rows),
    ]
    images = [
        [str(seed), *cells]
        for seed, both in pairs.items()
        for cells in image_by_image(*both, selected)
    ]
    if images:
        columns = ["seed", "images", "control wrong", "control right", "p"]
        parts.append(markdown_table(columns, images))
    return "\n".join(parts)


def main(argv=None):
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.compare",
        description="Compares two runs seed by seed, such as a run and its control.",
    )
    what = "folder of a {}, without `-seed0`"
    parser.add_argument("run", metavar="RUN", help=what.format("run or record"))
    parser.add_argument("control", metavar="CONTROL", help=what.format("control"))
    parser.add_argument(
        "--selected",
        action="store_true",
        help="compare the selected models instead of the last; held-out images may "
        "have selected them",
    )
    arguments = parser.parse_args(argv)
    try:
        runs = runs_of(arguments.run), runs_of(arguments.control)
        print(comparison(*runs, arguments.selected), flush=True)
    except BrokenPipeError:  # such as `| head`, which reads some lines only
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - flushed when Python exits
    except ValueError as error:
        sys.exit(f"error: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
