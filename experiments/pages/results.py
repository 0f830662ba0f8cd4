"""What a result is: a Markdown page of docs/results, with its drawings.

Every table and figure has a maker, `make(records) -> Result`, a pure function of the
records: no clock, no machine, no user setting. `experiments.reproduce` writes them.
"""

import dataclasses
import pathlib
import re
import shlex
import statistics

ROOT = pathlib.Path(__file__).parents[2]
RECORDS = ROOT / "records"
OUTPUT = ROOT / "docs" / "results"


@dataclasses.dataclass(frozen=True)
class Result:
    """A page and its drawings.

    Attributes:
        name: of the file without its ending, such as `"table2"`.
        text: Markdown.
        drawings: SVG text by file name.
    """

    name: str
    text: str
    drawings: dict = dataclasses.field(default_factory=dict)

    @property
    def files(self):
        """Text by file name."""
        return {f"{self.name}.md": self.text, **self.drawings}


class NotRun:
    """Cells without a record, and the commands that would fill them.

    Each command is listed once under the page's tables, and cells point to it.
    """

    def __init__(self):
        self.commands = {}

    def cell(self, command):
        """The text of a cell that `command` would fill."""
        number = self.commands.setdefault(command, len(self.commands) + 1)
        return f"not run ({number})"

    def listing(self):
        """The commands as Markdown; empty if every cell has a record."""
        if not self.commands:
            return ""
        lines = [f"{number}. `{text}`" for text, number in self.commands.items()]
        return "\n".join(["", "Not run yet; the commands:", "", *lines, ""])


def file_name(*words):
    """A file name of some words, such as a machine's: `amd-epyc-2-cores`."""
    name = " ".join(map(str, words)).lower()
    return re.sub("[^a-z0-9]+", "-", name).strip("-")


def head(title, name, about):
    """The beginning of a page: its title, how it was made, what it shows."""
    return (
        f"# {title}\n\n"
        f"Made by `make reproduce-{name}` from the records; do not edit.\n\n{about}\n"
    )


def markdown_table(columns, rows):
    """A Markdown table; cells are text, a bar within one is escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n"
        for line in lines
    )


def with_range(values, form):
    """A median with the smallest and the largest, such as `"2 (1-5)"`."""
    numbers = (statistics.median(values), min(values), max(values))
    return "{} ({}-{})".format(*map(form.format, numbers))


def command(parser, given, left_out):
    """A call as a record states it.

    Args:
        parser: the `argparse.ArgumentParser` of the command.
        given: what it parsed; defaults are left out.
        left_out: names of options that do not change what is measured.
    """
    words = [
        f"--{name}={value}"
        for name, value in vars(given).items()
        if value != parser.get_default(name) and name not in left_out
    ]
    return shlex.join([*parser.prog.split(), *words])


def short_commit(text):
    """A commit, shortened, with the note on changes that it may bear."""
    commit, *changed = text.split(" ", 1)
    return " ".join([commit[:12], *changed])


def taken_by_others(results):
    """A sentence on what other processes took of the machine; empty if not known.

    Args:
        results: what `experiments.bench.worker.timed` returned, a dict each.
    """
    shares = [
        100 * result["elsewhere"]
        for result in results
        if result["elsewhere"] is not None
    ]
    if not shares:
        return ""
    return (
        f"Other processes took {with_range(shares, '{:.0f}')} % of the processors "
        "during a measurement, which slows images/s.\n"
    )


def machine_name(environment):
    """A file name for machine and backend, such as `amd-epyc-2-cores-tensorflow`.

    Args:
        environment: a dict from `resprune_tf.runs.environment`.
    """
    parts = [environment["cpu"], environment["cores"], "cores"]
    if environment["devices"] != "1 cpu":
        parts.append(environment["devices"])
    return file_name(*parts, environment["backend"])
