"""Scores of one model's units by several criteria, and how far they agree."""

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
    """What several criteria say about the units of one model. Prints as a table.

    Attributes:
        model: name of the model.
        images: how many images the criteria looked at.
        units: dict from unit name to its `{"parameters": int, "macs": int or None}`:
            what its removal saves.
        scores: dict from criterion to a dict from unit name to score, for the same
            units in the same order. The smallest is removed first.
        left_out: dict from criterion to why it could not be computed.
        unscored: dict from the name of each other unit of the model to why it has no
            score.
        loss: what the criteria that need labels compare outputs with them by; None if
            there is none of these.
    """

    model: str
    images: int
    units: dict[str, dict]
    scores: dict[str, dict[str, float]]
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    unscored: dict[str, str] = dataclasses.field(default_factory=dict)
    loss: str | None = None

    @property
    def ranks(self) -> dict[str, dict[str, float]]:
        """Like `scores`, from 1 for the smallest; equal scores share a mean rank."""
        return {
            name: dict(zip(scores, map(float, _ranks(scores)), strict=True))
            for name, scores in self.scores.items()
        }

    @property
    def rank_correlations(self) -> dict[str, dict[str, float]]:
        """Spearman's rank correlation of each criterion with each, from -1 to 1.

        NaN where it is not defined: one unit only, or equal scores for all units.
        """
        return {
            name: {other: _spearman(a, b) for other, b in self.scores.items()}
            for name, a in self.scores.items()
        }

    def mean_ranks(self, criteria: Sequence[str] | None = None) -> dict[str, float]:
        """The mean of several criteria's ranks: a score that all have a say in.

        Args:
            criteria: names; all but `random` if None.

        Returns:
            dict from unit name to mean rank, in the order of the units.

        Raises:
            ValueError: if a criterion is not in the table, or none is given.
        """
        names = (
            [n for n in self.scores if n != "random"] if criteria is None else criteria
        )
        unknown = [name for name in names if name not in self.scores]
        if unknown or not names:
            raise ValueError(
                f"Ranks can be averaged over {', '.join(self.scores)}. "
                f"Received: {', '.join(unknown) or 'no criterion'}."
            )
        ranks = self.ranks
        return {
            unit: float(np.mean([ranks[name][unit] for name in names]))
            for unit in self.units
        }

    def to_dict(self) -> dict:
        """Everything in types that JSON has; numbers that are not finite as None."""
        return {
            "model": self.model,
            "images": self.images,
            "units": self.units,
            "scores": _finite(self.scores),
            "ranks": _finite(self.ranks),
            "rank_correlations": _finite(self.rank_correlations),
            "left_out": self.left_out,
            "unscored": self.unscored,
            "loss": self.loss,
        }

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def __str__(self):
        lines = [
            f"'{self.model}': ranks of {counted(len(self.units), 'unit')} (1 is "
            f"removed first) and scores, on {counted(self.images, 'image')}.",
            *([f"Loss: {self.loss}."] if self.loss else []),
            *aligned(("unit", "parameters", "MACs", *self.scores), *self._rows()),
            "Rank correlations (Spearman):",
            *aligned(("", *self.scores), *self._correlation_rows()),
            *(f"All scores of {n} are equal: it ranks nothing." for n in self._flat()),
            *(f"Without {name}: {why}" for name, why in self.left_out.items()),
            *([self._unscored()] if self.unscored else []),
        ]
        return "\n".join(lines)

    def _flat(self):
        """Criteria by which all of several units are equal."""
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
    return round(float(stats.spearmanr(*ranks).statistic), 12)  # a whole 1 with itself


def _finite(tables):
    return {
        name: {key: v if math.isfinite(v) else None for key, v in table.items()}
        for name, table in tables.items()
    }


def _count(number):
    return "?" if number is None else f"{number:,}"
