"""The planned runs and their order."""

import dataclasses

from experiments.paper.rows import BY_RUN, QUARTER, R29, ROWS, Row

PARTS = (
    "A quarter of the paper's epochs",
    "ResNet-29 with eight seeds",
    "The paper's epochs: the main runs",
    "The paper's epochs: all other runs",
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A planned run: one seed of a row.

    Attributes:
        part: its part of the plan.
        row: a `Row`.
        seed: int.
    """

    part: str
    row: Row
    seed: int

    @property
    def run(self):
        """Name of the run directory and of the record."""
        return f"{self.row.run}-seed{self.seed}"


def _entries(part, rows, *groups):
    """Entries ordered by group of seeds, then by row."""
    for seeds in groups:
        for row in rows:
            yield from (Entry(part, row, seed) for seed in seeds if seed in row.seeds)


def _plan():
    quarter, short, full, rest = PARTS
    first = [BY_RUN[run] for run in ("c10-k2", "c10-restart", "c10-main")]
    others = [row for row in ROWS if row not in (*first, *R29)]
    yield from _entries(quarter, QUARTER, (0,))
    yield from _entries(quarter, QUARTER[:4], (1,), (2,))
    yield from _entries(short, R29, *((seed,) for seed in R29[0].seeds))
    yield from _entries(full, first, (0,), (1,), (2,))
    for row in others:
        yield from _entries(rest, [row], row.seeds)


# All planned runs, in order.
PLAN = tuple(_plan())
