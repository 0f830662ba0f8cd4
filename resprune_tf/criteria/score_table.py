"""Scores of one model's units by several criteria, and their rank correlations."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from resprune_tf.system.wording import counted
from resprune_tf.units.table import aligned


@dataclasses.dataclass(frozen=True)
class ScoreTable:
    """Scores of the units of one model by several criteria. Prints as a table.

    Attributes:
        model: name of the model.
        images: number of images that the criteria used.
        units: dict from unit name to `{"parameters": int, "macs": int or None}`, the
            cost that its removal saves.
        scores: dict from criterion to a dict from unit name to score. The units and
            their order are the same for all criteria. The smallest score is removed
            first.
        omitted: dict from criterion to the reason why it could not be computed.
        unscored: dict from the name of each other unit of the model to the reason why
            it has no score.
        loss: name of the loss of the criteria that use labels; None if none does.
    """

    model: str
    images: int
    units: dict[str, dict]
    scores: dict[str, dict[str, float]]
    omitted: dict[str, str] = dataclasses.field(default_factory=dict)
    unscored: dict[str, str] = dataclasses.field(default_factory=dict)
    loss: str | None = None

    @property
    def ranks(self) -> dict[str, dict[str, float]]:
        """Ranks in the form of `scores`, 1 for the smallest; ties get the mean rank."""
        return {
            name: dict(zip(scores, map(float, _ranks(scores)), strict=True))
            for name, scores in self.scores.items()
        }

    @property
    def rank_correlations(self) -> dict[str, dict[str, float]]:
        """Spearman's rank correlation of each pair of criteria, from -1 to 1.

        NaN if it is undefined: for one unit, or if all scores are equal.
        """
        return {
            name: {other: _spearman(a, b) for other, b in self.scores.items()}
            for name, a in self.scores.items()
        }

    def mean_ranks(self, criteria: Sequence[str] | None = None) -> dict[str, float]:
        """Mean rank of each unit over several criteria, usable as a combined score.

        Args:
            criteria: names of criteria. Defaults to all except `random`.

        Returns:
            dict from unit name to mean rank (float), in the order of the units.

        Raises:
            ValueError: if a criterion is not in the table, or the list is empty.
        """
        names = (
            [n for n in self.scores if n != "random"] if criteria is None else criteria
        )
        unknown = [name for name in names if name not in self.scores]
        if unknown or not names:
            raise ValueError(
                f"`criteria` must name criteria of the table: {', '.join(self.scores)}."
                f" Received: {', '.join(unknown) or 'no criterion'}."
            )
        ranks = self.ranks
        return {
            unit: float(np.mean([ranks[name][unit] for name in names]))
            for unit in self.units
        }

    def to_dict(self) -> dict:
        """Returns the table in JSON types; numbers that are not finite become None."""
        return {
            "model": self.model,
            "images": self.images,
            "units": self.units,
            "scores": _finite(self.scores),
            "ranks": _finite(self.ranks),
            "rank_correlations": _finite(self.rank_correlations),
            "omitted": self.omitted,
            "unscored": self.unscored,
            "loss": self.loss,
        }

    def to_json(self) -> str:
        """Returns `to_dict()` as a JSON string."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def __str__(self):
        lines = [
            f"'{self.model}': ranks of {counted(len(self.units), 'unit')} (1 is "
            f"removed first) and scores, on {counted(self.images, 'image')}.",
            *([f"Loss: {self.loss}."] if self.loss else []),
            *aligned(("unit", "parameters", "MACs", *self.scores), *self._rows()),
            "Rank correlations (Spearman):",
            *aligned(("", *self.scores), *self._correlation_rows()),
            *(
                f"All scores of {name} are equal, so it does not rank the units."
                for name in self._flat()
            ),
            *(f"{name} was not computed: {why}" for name, why in self.omitted.items()),
            *([self._unscored()] if self.unscored else []),
        ]
        return "\n".join(lines)

    def _flat(self):
        """Yields criteria that give all units the same score."""
        for name, scores in self.scores.items():
            if len(scores) > 1 and len(set(scores.values())) == 1:
                yield name

    def _unscored(self):
        names = {}
        for unit, why in self.unscored.items():
            names.setdefault(why, []).append(unit)
        parts = (f"{', '.join(units)} ({why})" for why, units in names.items())
        return f"Units without a score: {'; '.join(parts)}."

    def _rows(self):
        ranks = self.ranks
        for unit, saved in self.units.items():
            cells = [
                f"{ranks[name][unit]:g} ({scores[unit]:.3g})"
                for name, scores in self.scores.items()
            ]
            yield unit, _count(saved["parameters"]), _count(saved["macs"]), *cells

    def _correlation_rows(self):
        for name, row in self.rank_correlations.items():
            yield name, *("-" if math.isnan(v) else f"{v:.2f}" for v in row.values())


def _ranks(scores):
    return stats.rankdata(list(scores.values()))


def _spearman(scores, others):
    ranks = _ranks(scores), _ranks(others)
    if any(np.ptp(values) == 0 for values in ranks):
        return math.nan
    # Rounded, so that the correlation of a criterion with itself is exactly 1.
    return round(float(stats.spearmanr(*ranks).statistic), 12)


def _finite(tables):
    return {
        name: {key: v if math.isfinite(v) else None for key, v in table.items()}
        for name, table in tables.items()
    }


def _count(number):
    return "?" if number is None else f"{number:,}"
