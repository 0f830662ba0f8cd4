"""The page of the input pipeline's speed; imports no framework."""

import json
import math
import statistics

from experiments.pages.results import RECORDS, NotRun, Result, head, markdown_table
from experiments.pipeline.__main__ import COMMAND
from experiments.pipeline.measures import OTHERS, PARTS, WHOLE

# Images a second at which accelerators may train.
_SPEEDS = (250, 500, 1000, 2000, 4000, 8000)
_ABOUT = """How many ImageNet images a second the input pipeline reads, decodes and
augments; an accelerator that trains faster waits for it. Measured in turns without a
net; numbers are medians over the rounds, with smallest and largest. Processor time
leaves out waiting, and other programs that run meanwhile; divided into 1,000 it is the
speed of one processor. What a part costs is the processor time that it adds to the
parts before it. Other ways are compared with the last part, round by round; above 1 is
faster. The first five give the same pixels, up to rounding and the random numbers."""


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


def milliseconds(record, name):
    """Processor time of an image, one number a round."""
    return [1e3 * m["cpu_seconds"] / m["images"] for m in _measured(record, name)]


def speeds(record, name):
    """Images a second, one number a round."""
    return [m["images"] / m["seconds"] for m in _measured(record, name)]


def processors_for(record, speed):
    """How many processors like the record's prepare so many images a second."""
    own = 1e3 / statistics.median(milliseconds(record, "training"))
    return math.ceil(speed / own)


def _section(record):
    machine = record["environment"]
    size = f"{record['mean_pixels'] / 1e3:,.0f} thousand pixels"
    return (
        f"\n## {machine['cpu']}, {machine['cores']} processors, images of {size}\n\n"
        f"{record['images']:,} images, in the mean {size} and "
        f"{record['mean_bytes'] / 1e3:,.0f} kB, {_origin(record)}; batches of "
        f"{record['batch_size']}; {len(record['rounds'])} rounds, "
        f"{record['started'][:10]}.\n\nCommand: `{record['command']}`\n"
        f"{_elsewhere(record)}\n{_wholes(record)}\n{_needed(record)}\n{_parts(record)}\n{_others(record)}"
    )


def _origin(record):
    if record["longer_side"]:
        return f"brought to a longer side of {record['longer_side']} pixels"
    return "as they are"


def _wholes(record):
    rows = [
        [
            title,
            _range(speeds(record, name), "{:,.0f}"),
            _range(milliseconds(record, name), "{:.2f}"),
            f"{1e3 / statistics.median(milliseconds(record, name)):,.0f}",
        ]
        for name, title in WHOLE.items()
    ]
    columns = ["pipeline", "images/s", "processor ms an image", "images/s a processor"]
    return markdown_table(columns, rows)


def _needed(record):
    rows = [[f"{speed:,}", f"{processors_for(record, speed):,}"] for speed in _SPEEDS]
    return (
        "Processors like these that keep an accelerator busy, if speed grows with "
        "their number:\n\n"
        + markdown_table(["it trains, images/s", "processors"], rows)
    )


def _parts(record):
    rows, before = [], 0.0
    total = statistics.median(milliseconds(record, list(PARTS)[-1]))
    for name, title in PARTS.items():
        median = statistics.median(milliseconds(record, name))
        added = median - before
        rows.append([title, f"{added:.2f}", f"{round(100 * added / total)} %"])
        before = median
    columns = ["part of the training pipeline", "processor ms an image", "share"]
    return markdown_table(columns, rows)


def _others(record):
    rows, ours = [], list(PARTS)[-1]
    for name, title in OTHERS.items():
        faster = _ratios(speeds(record, name), speeds(record, ours))
        cheaper = _ratios(milliseconds(record, ours), milliseconds(record, name))
        rows.append([title, _range(faster, "{:.2f}"), _range(cheaper, "{:.2f}")])
    columns = ["other way", "times as fast", "times as fast by processor time"]
    return markdown_table(columns, rows)


def _elsewhere(record):
    """A sentence on what other programs took of the machine; empty if not known."""
    shares = [
        m["elsewhere"]
        for each in record["rounds"]
        for m in each.values()
        if m["elsewhere"] is not None
    ]
    if not shares:
        return ""
    return (
        "\nOther programs took "
        f"{_range([100 * share for share in shares], '{:.0f}')} % of the processors "
        "meanwhile, which slows images/s.\n"
    )


def _measured(record, name):
    return [each[name] for each in record["rounds"]]


def _ratios(ones, others):
    return [one / other for one, other in zip(ones, others, strict=True)]


def _range(values, form):
    """Median, and smallest to largest."""
    low, high = min(values), max(values)
    numbers = [form.format(v) for v in (statistics.median(values), low, high)]
    return f"{numbers[0]} ({numbers[1]}-{numbers[2]})"
