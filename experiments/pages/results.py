"""What a result is: a Markdown page of docs/results, with its drawings.

Every table and figure has a maker, `make(records) -> Result`, a pure function of the
records: no clock, no machine, no user setting. `experiments.reproduce` writes them.
"""

import dataclasses
import pathlib
import re

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


def machine_name(environment):
    """A file name for machine and backend, such as `amd-epyc-2-cores-tensorflow`.

    Args:
        environment: a dict from `resprune_tf.runs.environment`.
    """
    parts = [environment["cpu"], environment["cores"], "cores"]
    if environment["devices"] != "1 cpu":
        parts.append(environment["devices"])
    return file_name(*parts, environment["backend"])
