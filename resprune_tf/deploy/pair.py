"""A shortened model beside the one it came from, as both are deployed."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from resprune_tf.deploy.export import Exported, export
from resprune_tf.deploy.formats import check_formats
from resprune_tf.deploy.latency import Latency
from resprune_tf.deploy.registry import FORMATS, RUNTIME_FORMATS
from resprune_tf.deploy.runtime_latency import runtime_latencies
from resprune_tf.graph.cost import Cost, cost
from resprune_tf.system.wording import busy_note, counted
from resprune_tf.units.table import aligned


@dataclasses.dataclass(frozen=True)
class FormatPair:
    """One format of both models.

    Attributes:
        format: such as `"litert"`.
        model, unpruned: what was written of each.
        latencies: dict from a batch size to the `Latency` of the model and of the
            unpruned one; empty for `"keras"`, which is no format to run.
    """

    format: str
    model: Exported
    unpruned: Exported
    latencies: dict[int, tuple[Latency, Latency]]

    @property
    def bytes_ratio(self):
        """Size as a fraction of the unpruned model's."""
        return self.model.bytes / self.unpruned.bytes

    def latency_ratio(self, batch_size):
        """Median of the turns: time as a fraction of the unpruned model's."""
        model, unpruned = self.latencies[batch_size]
        return float(np.median(model.ratios(unpruned)))


@dataclasses.dataclass(frozen=True)
class ExportedPair:
    """A model beside the unpruned one; prints as a table.

    Attributes:
        formats: tuple of `FormatPair`.
        cost, unpruned_cost: `Cost` of each.
        threads: processor threads of the runtimes.
    """

    formats: tuple[FormatPair, ...]
    cost: Cost
    unpruned_cost: Cost
    threads: int

    @property
    def macs_ratio(self):
        """MACs as a fraction of the unpruned model's."""
        return self.cost.macs / self.unpruned_cost.macs

    def __str__(self):
        batches = sorted({b for row in self.formats for b in row.latencies})
        head = ["format", "kB", "of", "ratio"]
        for batch in batches:
            head += [f"ms, batch {batch}", "of", "ratio"]
        rows = (self._row(row, batches) for row in self.formats)
        loads = [x.load for f in self.formats for p in f.latencies.values() for x in p]
        return "\n".join(
            [
                *aligned(head, *rows),
                f"MACs: {self.cost.macs:,} of {self.unpruned_cost.macs:,}, "
                f"ratio {self.macs_ratio:.3f}. Both models folded; times are medians "
                f"on the processor, {counted(self.threads, 'thread')}, in turns.",
                *filter(None, [busy_note(*loads)]),
            ]
        )

    def _row(self, row, batches):
        sizes = (f"{made.bytes / 1000:,.0f}" for made in (row.model, row.unpruned))
        cells = [row.format, *sizes, f"{row.bytes_ratio:.3f}"]
        for batch in batches:
            if batch in row.latencies:
                cells += [f"{x.median_ms:.3f}" for x in row.latencies[batch]]
                cells.append(f"{row.latency_ratio(batch):.3f}")
            else:
                cells += ["-"] * 3
        return cells


def export_pair(
    model: keras.Model,
    unpruned: keras.Model,
    directory: str | os.PathLike,
    formats: Sequence[str] = ("saved_model", "litert", "onnx"),
    images: Any = None,
    tolerance: float | Mapping[str, float] | None = None,
    calibration: Any = None,
    batch_sizes: Sequence[int] = (1, 32),
    runs: int = 50,
    threads: int = 1,
) -> ExportedPair:
    """Exports a model and the one it came from, and measures both as they run.

    Both are folded, so that folding is not credited to pruning. Both are checked as
    `export` does; the model's files come into `directory`, the other's into
    `directory/unpruned`.

    Args:
        model: the shortened model.
        unpruned: the model it came from, of the same inputs.
        directory, formats, images, tolerance, calibration: as for `export`.
        batch_sizes: images a call, each timed on its own.
        runs, threads: as for `runtime_latencies`.

    Returns:
        A `ExportedPair`; print it.

    Raises:
        TypeError, ValueError, ImportError, ExportError: as `export` does.
        RuntimeFailed: if a runtime cannot time a model.
    """
    formats = check_formats(formats)
    directory = pathlib.Path(directory)
    costs = cost(model), cost(unpruned)  # they refuse what has no graph, too
    made = [
        export(
            net,
            folder,
            formats,
            images=images,
            tolerance=tolerance,
            calibration=calibration,
        )
        for net, folder in ((model, directory), (unpruned, directory / "unpruned"))
    ]
    rows = []
    for of_model, of_unpruned in zip(*made, strict=True):
        runtime = FORMATS[of_model.format].runtime
        paths = of_model.path, of_unpruned.path
        latencies = {
            batch: runtime_latencies(paths, runtime, batch, runs, threads=threads)
            for batch in (batch_sizes if runtime in RUNTIME_FORMATS else ())
        }
        rows.append(FormatPair(of_model.format, of_model, of_unpruned, latencies))
    return ExportedPair(tuple(rows), *costs, threads)
