"""Report of a run: its records as one web page, and as a table for the terminal.

    python -m experiments.report runs/demo

Reads text records only and imports no TensorFlow, so that a report can be made
anywhere, also of a run that is still going.
"""

import argparse
import os
import pathlib
import sys

from experiments.pages import plots
from experiments.pages.report_page import make_page
from experiments.pages.run_records import RunRecords
from experiments.pages.summary import format_rounds

# By name in the page: file, what it shows, how to paint it, the records it needs.
_PLOTS = {
    "accuracy": (
        "accuracy_against_layers.svg",
        "Accuracy against layers, a point a round",
        plots.paint_accuracy,
        "rounds",
    ),
    "importances": (
        "importance_histogram.svg",
        "Histogram of the importances after round 0",
        plots.paint_importances,
        "importances",
    ),
    "training": (
        "training.svg",
        "Training loss and accuracy over the epochs of all rounds",
        plots.paint_training,
        "history",
    ),
}


def write_report(run_dir):
    """Writes `report.html` and `plots/*.svg` from the records of a run directory.

    Args:
        run_dir: the run directory; of a run that is not finished, too.

    Returns:
        pathlib.Path: the page.

    Raises:
        ValueError: if the directory has no records, or one cannot be read.
    """
    folder = pathlib.Path(run_dir)
    run = RunRecords.read(folder)
    figures = {}
    for name, (file, label, paint, needed) in _PLOTS.items():
        figures[name] = ""
        for size, width in plots.WIDTHS.items() if getattr(run, needed) else ():
            svg = plots.draw(paint, run, width)
            if size == "wide":
                _write(folder / "plots" / file, svg)
            svg = plots.inline(svg, f"{name}-{size}", label)
            figures[name] += f'<div class="{size}">{svg}</div>'
    page = folder / "report.html"
    _write(page, make_page(run, figures))
    return page


def _write(path, text):
    """Replaces a file whole: a reader sees the old one or the new one."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".writing-{os.getpid()}-{path.name}")
    try:
        with open(temporary, "w", encoding="utf-8", errors="xmlcharrefreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # of a full disk, it has none
        raise
    finally:
        temporary.unlink(missing_ok=True)


def main(argv=None):
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description="Writes report.html and plots/*.svg from the records of a run.",
    )
    parser.add_argument("run_dir", help="the run directory, such as runs/demo")
    run_dir = parser.parse_args(argv).run_dir
    try:
        run = RunRecords.read(run_dir)
        page = write_report(run_dir)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(format_rounds(run.rounds, run.final))
    print(f"Report: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
