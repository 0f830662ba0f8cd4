"""The page of the input pipeline's speed; imports no framework."""

import json
import statistics

from experiments.pages.results import (
    RECORDS,
    NotRun,
    Result,
    head,
    markdown_table,
    taken_by_others,
    with_range,
)

COMMAND = "python -m experiments.pipeline"
# What is measured. Older records hold more.
PIPELINES = {
    "training": "training: read, shuffle, augment, batch",
    "test": "testing: read, resize, crop, batch",
}
_ABOUT = """How many ImageNet images a second the input pipeline reads, decodes and
augments; an accelerator that trains faster waits for it. Measured in turns without a
network; numbers are medians over the rounds, with the smallest and the largest.
Processor time leaves out waiting, and other programs that run meanwhile; divided into
1,000 it is the speed of one processor."""


def make(records=RECORDS):
    """The page.

    Args:
        records: folder of all records.
    """
    not_run = NotRun()
    paths = sorted((records / "pipeline").glob("*.json"))
    parts = [_section(json.loads(path.read_text("utf-8"))) for path in paths]
    if not parts:
        parts = [f"\nImages a second: {not_run.cell(COMMAND + ' --data_dir=DIR')}\n"]
    text = head("How fast ImageNet is read", "pipeline", _ABOUT)
    return Result("pipeline", text + "".join(parts) + not_run.listing())


def _section(record):
    machine = record["environment"]
    size = f"{record['mean_pixels'] / 1e3:,.0f} thousand pixels"
    origin = "as they are"
    if record["longer_side"]:
        origin = f"brought to a longer side of {record['longer_side']} pixels"
    results = [e[name] for e in record["rounds"] for name in PIPELINES]
    return (
        f"\n## {machine['cpu']}, {machine['cores']} processors, images of {size}\n\n"
        f"{record['images']:,} images, in the mean {size} and "
        f"{record['mean_bytes'] / 1e3:,.0f} kB, {origin}; batches of "
        f"{record['batch_size']}; {len(record['rounds'])} rounds, "
        f"{record['started'][:10]}.\n\nCommand: `{record['command']}`\n\n"
        f"{taken_by_others(results)}\n{_table(record)}"
    )


def _table(record):
    rows = []
    for name, title in PIPELINES.items():
        found = [each[name] for each in record["rounds"]]
        spent = [1e3 * m["cpu_seconds"] / m["images"] for m in found]
        rows.append(
            [
                title,
                with_range([m["images"] / m["seconds"] for m in found], "{:,.0f}"),
                with_range(spent, "{:.2f}"),
                f"{1e3 / statistics.median(spent):,.0f}",
            ]
        )
    columns = ["pipeline", "images/s", "processor ms an image", "images/s a processor"]
    return markdown_table(columns, rows)
