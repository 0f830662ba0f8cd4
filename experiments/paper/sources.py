"""What a page is made from: series of records, the ones used, the ones not run."""

from experiments.pages.results import NotRun, Result, head
from experiments.pages.scales import WORDS, suffix
from experiments.paper.rows import BY_RUN
from experiments.paper.series import Series

_SMOKE = (
    "> **These numbers mean nothing.** Some records were made at `--scale=smoke`: "
    "narrow nets, few images, few epochs, to see that everything runs.\n"
)
_COMMANDS = (
    "\nThey are the commands of the first seed; DATA is the folder of the data sets. "
    "[The queue](../../experiments/queue.md) has the order, the other seeds and how "
    "records are kept.\n"
)


class Sources:
    """Reads series for one page and remembers which.

    Args:
        records: folder of all records.
    """

    def __init__(self, records):
        self.records = records
        self.not_run = NotRun()
        self._used = {}

    def series(self, run, scale="paper"):
        """The `Series` of a row, by its name at the paper's scale, and its scale."""
        run += suffix(scale)
        if run not in self._used:
            self._used[run] = Series.read(self.records, BY_RUN[run])
        return self._used[run]

    def fullest(self, *runs):
        """The series with most seeds on record, the first of equals.

        Without any records, the last: the one that is run first.
        """
        found = [self.series(run) for run in runs]
        known = [series for series in found if series.runs]
        return max(known, key=lambda series: len(series.runs), default=found[-1])

    def cell(self, series):
        """The text of a cell that a series without records would fill."""
        return self.not_run.cell(series.row.shell(series.row.seeds[0]))

    def gap(self, series, cells):
        """So many cells of a row that a series without records would fill."""
        return [self.cell(series), *["-"] * (cells - 1)]

    def result(self, title, name, about, *parts, **drawings):
        """The `Result`: what it shows, from what records, and what is missing.

        Args:
            title, name, about: as for `head`.
            *parts: Markdown.
            **drawings: SVG text by file name without its ending.
        """
        smoke = any(series.smoke for series in self._used.values())
        blocks = [
            head(title, name, about),
            *([_SMOKE] if smoke else []),
            *parts,
            self._listing(),
        ]
        missing = self.not_run.listing()
        text = "\n".join(blocks) + missing + (_COMMANDS if missing else "")
        return Result(name, text, {f"{key}.svg": svg for key, svg in drawings.items()})

    def _listing(self):
        """The records that were used, with how many seeds are to come."""
        lines = []
        for series in self._used.values():
            row = series.row
            if not series.runs:
                continue
            links = ", ".join(
                f"[{seed}](../../records/{row.record(seed)})" for seed in series.runs
            )
            left = len(row.seeds) - len(series.runs)
            missing = f" ({left} not run)" if left else ""
            lines.append(f"- {row.run}, {WORDS[row.scale]}: seeds {links}{missing}\n")
        return "Records:\n\n" + "".join(lines) if lines else "No records yet.\n"
