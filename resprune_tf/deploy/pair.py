"""Exports a pruned and the unpruned model, and compares their size and latency."""

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
from resprune_tf.system.counts import check_counts
from resprune_tf.system.wording import busy_note, counted
from resprune_tf.units.table import aligned


@dataclasses.dataclass(frozen=True)
class FormatPair:
    """Both models in one format.

    Attributes:
        format: name of the format, such as `"litert"`.
        model, unpruned: the `Exported` of each model.
        latencies: dict from batch size to the `Latency` of the model and of the
            unpruned one; empty for `"keras"`, which has no separate runtime.
    """

    format: str
    model: Exported
    unpruned: Exported
    latencies: dict[int, tuple[Latency, Latency]]

    @property
    def bytes_ratio(self):
        """File size as a fraction of that of the unpruned model."""
        return self.model.bytes / self.unpruned.bytes

    def latency_ratio(self, batch_size):
        """Latency as a fraction of that of the unpruned model; median over the runs."""
        model, unpruned = self.latencies[batch_size]
        return float(np.median(model.ratios(unpruned)))


@dataclasses.dataclass(frozen=True)
class ExportedPair:
    """Result of `export_pair`. Prints as a table.

    Attributes:
        formats: tuple of `FormatPair`.
        cost, unpruned_cost: `Cost` of each model.
        threads: number of processor threads of the runtimes.
    """

    formats: tuple[FormatPair, ...]
    cost: Cost
    unpruned_cost: Cost
    threads: int

    @property
    def macs_ratio(self):
        """MACs as a fraction of those of the unpruned model."""
        return self.cost.macs / self.unpruned_cost.macs

    def __str__(self):
        batches = sorted({b for row in self.formats for b in row.latencies})
        head = ["format", "kB", "unpruned", "ratio"]
        for batch in batches:
            head += [f"ms, batch {batch}", "unpruned", "ratio"]
        rows = (self._row(row, batches) for row in self.formats)
        loads = [x.load for f in self.formats for p in f.latencies.values() for x in p]
        return "\n".join(
            [
                *aligned(head, *rows),
                f"MACs: {self.cost.macs:,} of {self.unpruned_cost.macs:,}, "
                f"ratio {self.macs_ratio:.3f}. Both models are folded. Times are "
                "medians on the processor with "
                f"{counted(self.threads, 'thread')}, in alternating calls.",
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
    """Exports a pruned model and the unpruned one, and compares size and latency.

    Both models are folded, so that the ratios show the effect of pruning alone, and
    checked as in `export`. The files of the pruned model are written to `directory`,
    those of the unpruned model to `directory/unpruned`.

    Args:
        model: the pruned model, a functional `keras.Model`.
        unpruned: the model before pruning, with the same inputs.
        directory, formats, images, tolerance, calibration: as for `export`.
        batch_sizes: images per call. Each size is timed separately.
        runs, threads: as for `runtime_latencies`.

    Returns:
        An `ExportedPair`, which prints as a table.

    Raises:
        TypeError, ValueError, ImportError, ExportError, DiskFullError: as for `export`;
            ValueError also if a count is below 1.
        RuntimeFailed: if a runtime cannot time a model.

    >>> print(rp.export_pair(smaller, model, "out", images=images))
    """
    formats = check_formats(formats)
    check_counts(runs=runs, threads=threads)
    for batch_size in batch_sizes:
        check_counts(batch_sizes=batch_size)
    directory = pathlib.Path(directory)
    costs = cost(model), cost(unpruned)  # raises for models that are not functional
    exported = [
        export(
            each,
            folder,
            formats,
            images=images,
            tolerance=tolerance,
            calibration=calibration,
        )
        for each, folder in ((model, directory), (unpruned, directory / "unpruned"))
    ]
    rows = []
    for of_model, of_unpruned in zip(*exported, strict=True):
        runtime = FORMATS[of_model.format].runtime
        paths = of_model.path, of_unpruned.path
        latencies = {
            batch: runtime_latencies(paths, runtime, batch, runs, threads=threads)
            for batch in (batch_sizes if runtime in RUNTIME_FORMATS else ())
        }
        rows.append(FormatPair(of_model.format, of_model, of_unpruned, latencies))
    return ExportedPair(tuple(rows), *costs, threads)
