"""The numbers of a benchmark's record, and their ratios round by round."""

from experiments.bench.variants import ORDER, named


def units_of(settings):
    """The kind of residual units that a record's settings state, or the paper's."""
    kind = settings.get("unit_kind", "bottleneck")
    return f"{settings.get('activation', 'pre')}-activation {kind}"


PAPER_UNITS = units_of({})


class Numbers:
    """What was measured, by variant and measure."""

    def __init__(self, record):
        self.measured = {
            n for n, v in record["variants"].items() if v["status"] == "measured"
        }
        self.variants = [named(name) for name in ORDER if name in self.measured]
        self.rounds = record["rounds"]

    def each(self, name, measure, value):
        """`value` of every round's measurement; empty where there is none."""
        return [
            value(r[name][measure])
            for r in self.rounds
            if measure in r.get(name, ()) and name in self.measured
        ]

    def speeds(self, name, measure):
        """Images a second."""
        return self.each(name, measure, lambda m: m["images"] / m["seconds"])

    def ratios(self, one, other):
        """How many times as fast `one` is as `other`; each a name and a measure."""
        speeds = [self.speeds(*one), self.speeds(*other)]
        return [a / b for a, b in zip(*speeds, strict=True)] if all(speeds) else []

    def elsewhere(self):
        """Share of the processors that others took: mean over the time, and most.

        Two times None where the system did not tell.
        """
        measured = [
            result
            for variants in self.rounds
            for measures in variants.values()
            for result in measures.values()
            if result["elsewhere"] is not None
        ]
        if not measured:
            return None, None
        taken = sum(result["elsewhere"] * result["seconds"] for result in measured)
        return (
            taken / sum(result["seconds"] for result in measured),
            max(result["elsewhere"] for result in measured),
        )
