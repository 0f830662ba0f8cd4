"""Writes the report of a run."""

from __future__ import annotations

import os
import pathlib

from resprune_tf.report import drawing, plots
from resprune_tf.report.files import list_files
from resprune_tf.report.page import make_page
from resprune_tf.report.run_records import RunRecords
from resprune_tf.system.whole_files import atomic_file, remove_left_behind

REPORT = "report.html"


def write_report(run_dir: str | os.PathLike) -> pathlib.Path:
    """Writes the report of a run: one HTML page that needs no other file.

    The page begins with one sentence on the result. The trade-off curve, the files, the
    rounds, and the units with their scores follow. Only records are read; models are
    not loaded. The run may be unfinished.

    Args:
        run_dir: the directory of a run: `RunOptions.directory`, or `--out` of
            `resprune prune`.

    Returns:
        The path of the page, `report.html` in the directory. An existing page is
        replaced.

    Raises:
        ValueError: if the directory contains no records of a run, or damaged ones.
        OSError: if the page cannot be written; `DiskFullError` if the disk is full.

    >>> rp.write_report("runs/mine")
    PosixPath('runs/mine/report.html')
    """
    folder = pathlib.Path(run_dir)
    run = RunRecords.read(folder)
    figures = {}
    for name, label, paint, needed, panels in (
        (
            "tradeoff",
            f"{run.monitor} against cost, one point per round",
            plots.paint_tradeoff,
            run.rounds and any(run.monitored(r) is not None for r in run.rounds),
            2 if plots.has_latencies(run) else 1,
        ),
        (
            "training",
            f"training loss and {run.monitor} over the epochs of all rounds",
            plots.paint_training,
            run.history,
            1,
        ),
    ):
        figures[name] = ""
        for size, width in drawing.WIDTHS.items() if needed else ():
            height = 3.4 * (panels if size == "narrow" else 1)
            svg = drawing.draw(paint, run, width, height)
            svg = drawing.inline(svg, f"{name}-{size}", label)
            figures[name] += f'<div class="{size}">{svg}</div>'
    path = folder / REPORT
    remove_left_behind(folder, REPORT)
    text = make_page(run, figures, list_files(run, folder))
    with atomic_file(path) as temporary:
        # Names may contain lone surrogates, which cannot be encoded in UTF-8.
        temporary.write_text(text, encoding="utf-8", errors="xmlcharrefreplace")
    return path
