"""The records of a page: series that it uses, and rows that are not run yet."""

from experiments.pages.results import Result, head
from experiments.pages.scales import suffix, words
from experiments.paper.rows import BY_RUN
from experiments.paper.series import Series

QUEUE = "[The queue](../../experiments/queue.md)"
_MOST_NAMED = 6  # longer lists of missing runs are only counted
_SMOKE = (
    "> **These numbers mean nothing.** Some records were made at `--scale=smoke`: "
    "narrow models, few images and few epochs, to test that everything runs.\n"
)


class Sources:
    """Reads the series of one page and remembers them.

    Args:
        records: folder of all records.
    """

    def __init__(self, records):
        self.records = records
        self._used = {}

    def series(self, run, scale="paper"):
        """The `Series` of a row, given by its name at full length and its scale."""
        run += suffix(scale)
        if run not in self._used:
            self._used[run] = Series.read(self.records, BY_RUN[run])
        return self._used[run]

    def on_record(self, runs):
        """Whether any of some rows has a recorded finished run.

        Args:
            runs: names of rows, each with the suffix of its scale.
        """
        return any(self.series(run).runs for run in runs)

    def result(self, title, name, about, *parts, **drawings):
        """The `Result` with the list of its records and of missing runs.

        Args:
            title, name, about: as for `head`.
            *parts: Markdown.
            **drawings: SVG text by file name without its ending.
        """
        blocks = [
            head(title, name, about),
            *self.warning(),
            *parts,
            self.listing(),
        ]
        files = {f"{key}.svg": svg for key, svg in drawings.items()}
        return Result(name, "\n".join(blocks), files)

    def warning(self):
        """A list with a warning if a used record is a smoke test, else empty."""
        return [_SMOKE] if any(series.smoke for series in self._used.values()) else []

    def listing(self):
        """The used records, then the rows that are not run yet."""
        lines, missing = [], []
        for series in self._used.values():
            row = series.row
            if not series.runs:
                missing.append(f"`{row.run}`")
                continue
            links = ", ".join(
                f"[{seed}](../../records/{row.record(seed)})" for seed in series.runs
            )
            left = len(row.seeds) - len(series.runs)
            more = f" ({left} not run)" if left else ""
            lines.append(
                f"- {row.run}, {words(row.run, row.scale)}: seeds {links}{more}; "
                f"trained in {' and '.join(series.precisions)} with "
                f"{' and '.join(series.backends)} on {series.processors}\n"
            )
        text = "Records:\n\n" + "".join(lines) if lines else "No records yet.\n"
        if missing:
            listed = f"Not run yet: {', '.join(missing)}"
            if len(missing) > _MOST_NAMED:
                listed = (
                    f"{len(missing)} planned runs that feed this page are not finished"
                )
            text += f"\n{listed}. {QUEUE} has the commands and the order.\n"
        return text
