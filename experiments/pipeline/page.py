"""The page of the speed of the input pipeline. Imports no framework."""

import json
import statistics

from experiments.pages.results import (
    Result,
    background_load,
    head,
    markdown_table,
    with_range,
)

COMMAND = "python -m experiments.pipeline"
# The measured pipelines. Older records have more.
PIPELINES = {
    "training": "training: read, shuffle, augment, batch",
    "test": "testing: read, resize, crop, batch",
}
_ABOUT = """How many ImageNet images per second the input pipeline reads, decodes and
augments. An accelerator that trains faster than this waits for its input. Pipelines
were measured in turns, without a network. Numbers are medians over the rounds, with the
smallest and the largest in parentheses. Processor time excludes waiting and other
processes; *images/s per processor* is 1,000 ms divided by it."""


def make(records):
    """The page; None without records."""
    paths = sorted((records / "pipeline").glob("*.json"))
    parts = [_section(json.loads(path.read_text("utf-8"))) for path in paths]
    if not parts:
        return None
    text = head("Speed of the ImageNet input pipeline", "pipeline", _ABOUT)
    return Result("pipeline", text + "".join(parts))


def _section(record):
    machine = record["environment"]
    size = f"{record['mean_pixels'] / 1e3:,.0f} thousand pixels"
    origin = "of their own size"
    if record["longer_side"]:
        origin = f"resized to a longer side of {record['longer_side']} pixels"
    results = [e[name] for e in record["rounds"] for name in PIPELINES]
    # The module had another name when the first records were made.
    options = " ".join(record["command"].split()[3:])
    return (
        f"\n## {machine['cpu']}, {machine['cores']} processors, images of {size}\n\n"
        f"{record['images']:,} images, on average {size} and "
        f"{record['mean_bytes'] / 1e3:,.0f} kB, {origin}; batches of "
        f"{record['batch_size']}; {len(record['rounds'])} rounds, "
        f"{record['started'][:10]}.\n\nCommand: `{f'{COMMAND} {options}'.strip()}`\n\n"
        f"{background_load(results)}\n{_table(record)}"
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
    columns = ["pipeline", "images/s", "processor ms per image"]
    columns.append("images/s per processor")
    return markdown_table(columns, rows)
