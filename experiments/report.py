"""Report of a run: its records as one web page, and as a table for the terminal.

    python -m experiments.report runs/demo

Reads text records only and imports no TensorFlow, so that a report can be made
anywhere, also of a run that is still going. `report_template.html` holds the look of
the page and its fixed words; `plots.py` draws.
"""

import argparse
import dataclasses
import functools
import html
import json
import math
import os
import pathlib
import string
import sys

from experiments import plots

_NEEDED = ("round", "removed", "units", "layers", "parameters", "macs")
_FILES = ("rounds.jsonl", "history.jsonl", "final.json", "run.json", "flags.txt")
_TEMPLATE = pathlib.Path(__file__).with_name("report_template.html")
_MISSING = '<p class="about">Not recorded yet.</p>'


@dataclasses.dataclass(frozen=True)
class Run:
    """The records of a run; what it has not written yet is empty."""

    rounds: list
    final: dict = dataclasses.field(default_factory=dict)
    history: list = ()
    settings: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)
    flags: str = ""

    @classmethod
    def read(cls, run_dir):
        """Raises a ValueError if there are no records, or one cannot be read."""
        folder = pathlib.Path(run_dir)
        text = {
            name: (folder / name).read_text(encoding="utf-8", errors="replace")
            for name in (*_FILES, "environment.json")
            if (folder / name).is_file()
        }
        if not any(name in text for name in _FILES):
            raise ValueError(
                f"'{run_dir}' holds no records of a run: none of {', '.join(_FILES)}."
            )
        run = cls(
            rounds=_parse_lines("rounds.jsonl", text, ["round"], _NEEDED),
            final=_parse("final.json", text.get("final.json")),
            history=_parse_lines("history.jsonl", text, ["round", "epoch"]),
            settings=_parse("run.json", text.get("run.json")),
            environment=_parse("environment.json", text.get("environment.json")),
            flags=text.get("flags.txt", "").strip(),
        )
        if run.final and run.selected is None:
            raise ValueError(
                f"final.json selects round {run.final.get('selected_round')!r}, which "
                "rounds.jsonl does not hold."
            )
        return run

    @functools.cached_property
    def selected(self):
        """The record of the selected round; None while the run is unfinished."""
        number = self.final.get("selected_round")
        return next((r for r in self.rounds if r["round"] == number), None)

    @property
    def net(self):
        """The record of the net to report: the selected one, or the latest."""
        return self.selected or self.rounds[-1]

    @functools.cached_property
    def split(self):
        """The split that selects: `"validation"` or `"test"`."""
        measured = any(r.get("validation_accuracy") is not None for r in self.rounds)
        return self.final.get("select_on", "validation" if measured else "test")

    @property
    def splits(self):
        """The splits to show, the one that selects first."""
        return list(dict.fromkeys((self.split, "test")))

    def accuracy(self, record, split=None):
        """Accuracy of a round, on the selecting split by default; None if missing."""
        value = record.get(f"{split or self.split}_accuracy")
        return value if value is not None and math.isfinite(value) else None

    @property
    def initial(self):
        """The accuracy to hold, on the selecting split."""
        return self.final.get("initial_accuracy", self.accuracy(self.rounds[0]))

    def holds(self, record):
        """Whether a round kept the initial accuracy, less the tolerance."""
        accuracy, tolerance = self.accuracy(record), self.final.get("tolerance") or 0
        if accuracy is None or self.initial is None:
            return False
        # Rounding must not fail an equal accuracy.
        return accuracy >= self.initial - tolerance - 1e-9

    @property
    def rule(self):
        """What the selected net is the smallest of; empty if it breaks the rule."""
        if not self.holds(self.selected):
            return ""
        tolerance = self.final.get("tolerance")
        less = f" less {100 * tolerance:g} points" if tolerance else ""
        return (
            f", the smallest net whose {self.split} accuracy is at least the initial "
            f"{percent(self.initial)} %{less}"
        )

    def examples(self, split):
        """Number of images behind an accuracy; None if it is not recorded."""
        dataset = self.settings.get("dataset")
        size = dataset.get(split) if isinstance(dataset, dict) else None
        key = "test_examples" if split == "test" else "selection_examples"
        return self.final.get(key) or size

    @property
    def importances(self):
        """ω by unit after the first training."""
        return (self.rounds[0].get("importances") or {}) if self.rounds else {}

    @property
    def removals(self):
        """The round that removed it, for each unit removed in any round."""
        return {name: r["round"] for r in self.rounds for name in r["removed"]}

    def headline(self):
        """What the run achieved, in one honest sentence."""
        if not self.rounds:
            return "Unfinished run: no round is finished yet."
        first, net = self.rounds[0], self.net
        start = f"the initial net of {first['layers']} layers"
        if not self.selected:
            return (
                f"Unfinished run, no net selected yet: {first['layers']} -> "
                f"{net['layers']} layers by round {net['round']}; {self._change(net)}."
            )
        if net is not first:
            fewer = ", ".join(
                f"{100 * (1 - net[key] / first[key]):.1f} % fewer {word}"
                for key, word in (("macs", "MACs"), ("parameters", "parameters"))
            )
            loss = "" if self.holds(net) else "; the initial accuracy was not kept"
            return (
                f"{first['layers']} -> {net['layers']} layers: {fewer}; "
                f"{self._change(net)}{loss}."
            )
        shorter = [r for r in self.rounds if r["layers"] < first["layers"]]
        if not shorter:
            return f"Nothing was removed: only {start} was trained; {self._change()}."
        best = max(shorter, key=lambda r: self.accuracy(r) or 0)
        if self.holds(best):
            return f"The run selected {start}; {self._change()}."
        tolerance = self.final.get("tolerance")
        loss = f"a loss above {100 * tolerance:g} points" if tolerance else "loss"
        return (
            f"Nothing could be removed without {loss}: {start} has "
            f"{percent(self.initial)} % {self.split} accuracy, the best shorter one "
            f"({best['layers']} layers) {percent(self.accuracy(best))} %."
        )

    def _change(self, *net):
        """Accuracies of the first round and, after an arrow, of another one."""
        parts = []
        for split in self.splits:
            values = [self.accuracy(r, split) for r in (self.rounds[0], *net)]
            if None not in values:
                arrow = " -> ".join(f"{percent(value)} %" for value in values)
                parts.append(f"{split}{'' if parts else ' accuracy'} {arrow}")
        images = self.examples("test")
        if images and parts and parts[-1].startswith("test"):
            point = f"{100 / images:.2g}"
            parts[-1] += f" ({images:,} test images: 1 image is {point} points)"
        if parts and self.split == "test":
            parts[-1] += ", selected on the test set and so optimistic"
        return ", ".join(parts) or "no accuracy recorded"


def format_rounds(rounds, final):
    """The table of the rounds in plain text, and what they achieved.

    Args:
        rounds: the records of the rounds, dicts as in `rounds.jsonl` or dataclasses.
        final: the record of the end of the run, or None while it is unfinished.

    Returns:
        str: a line a round, the selected one marked with `*`, a legend and a sentence.
    """
    rounds = [r if isinstance(r, dict) else dataclasses.asdict(r) for r in rounds]
    run = Run(rounds, final or {})
    if not rounds:
        return run.headline()
    head = ["", "round", "layers", "parameters", "%", "MACs", "%", *run.splits]
    table = [[*head, "seconds", "units removed"]]
    for r in rounds:
        of = [f"{100 * r[k] / rounds[0][k]:.1f}" for k in ("parameters", "macs")]
        table.append(["*" if r is run.selected else "", str(r["round"])])
        table[-1] += [str(r["layers"]), f"{r['parameters']:,}", of[0]]
        table[-1] += [short(r["macs"]), of[1]]
        table[-1] += [percent(run.accuracy(r, split)) for split in run.splits]
        table[-1] += [f"{r.get('seconds') or 0:,.1f}", ", ".join(r["removed"]) or "-"]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    # The names come last and flush left: their width varies most.
    lines = ["  ".join([*map(str.rjust, row, widths[:-1]), row[-1]]) for row in table]
    legend = "Parameters and MACs also in % of the initial net; accuracies in %."
    if run.selected:
        legend = f"* selected{run.rule}. {legend}"
    note = [f"Note: {run.final['note']}"] if run.final.get("note") else []
    return "\n".join([*lines, "", legend, run.headline(), *note])


def percent(fraction):
    """An accuracy in %, without the sign."""
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def short(count, digits=2):
    """A count with its order of magnitude: 84068864 is `84.07 M`."""
    for power, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= power:
            return f"{count / power:.{digits}f} {letter}"
    return str(count)


def write_report(run_dir):
    """Writes `report.html` and `plots/*.svg` from the records of a run directory.

    Args:
        run_dir: the run directory; of a run that is not finished, too.

    Returns:
        pathlib.Path: the page.

    Raises:
        ValueError: if the directory has no records, or one cannot be read.
    """
    folder = pathlib.Path(run_dir)
    run = Run.read(folder)
    figures = {}
    for name, (file, label, paint, ready) in {
        "accuracy": (
            "accuracy_against_layers.svg",
            "Accuracy against layers, a point a round",
            plots.paint_accuracy,
            run.rounds,
        ),
        "importances": (
            "importance_histogram.svg",
            "Histogram of the importances after round 0",
            plots.paint_importances,
            run.importances,
        ),
        "training": (
            "training.svg",
            "Training loss and accuracy over the epochs of all rounds",
            plots.paint_training,
            run.history,
        ),
    }.items():
        figures[name] = "" if ready else _MISSING
        for size, width in plots.WIDTHS.items() if ready else ():
            svg = plots.draw(paint, run, width)
            if size == "wide":
                _write(folder / "plots" / file, svg)
            svg = plots.inline(svg, f"{name}-{size}", label)
            figures[name] += f'<div class="{size}">{svg}</div>'
    page = string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        figures,
        title=_escape(_title(run)),
        headline=_headline(run),
        callouts="".join(_callouts(run)),
        tiles="".join(_tiles(run)) if run.rounds else "",
        net=plots.net_strip(run) if run.rounds else _MISSING,
        rounds=_rounds(run) if run.rounds else _MISSING,
        cost=_cost(run) if run.rounds else _MISSING,
        command=_escape(_command(run)),
        flags=_escape(run.flags or "(no flags recorded)"),
        settings=_list(run.settings),
        environment=_list(run.environment),
    )
    _write(folder / "report.html", page)
    return folder / "report.html"


def _title(run):
    dataset = run.settings.get("dataset")
    name = dataset.get("name") if isinstance(dataset, dict) else dataset
    title = "Residual network"
    title += f" of {run.rounds[0]['layers']} layers" if run.rounds else ""
    title += f" on {name}" if name else ""
    seed = run.settings.get("seed")
    return title if seed is None else f"{title}, seed {seed}"


def _headline(run):
    """The sentence in two sizes: what was removed, then what it did."""
    text = _escape(run.headline().replace(" -> ", " → ").replace(" %", "\N{NBSP}%"))
    head, mark, rest = text.partition("; ")
    return f"{head}{mark}<small>{rest}</small>" if rest else head


def _callouts(run):
    texts = [("note", run.final["note"])] if run.final.get("note") else []
    if not run.final:
        texts.append(("alert", "This run is unfinished: what follows may change."))
    if run.rounds and run.split == "test":
        texts.append(
            (
                "alert",
                "Selected on the test set: the accuracy reported is the one that "
                "chose the net, and so is optimistic.",
            )
        )
    for kind, text in texts:
        yield f'<p class="callout {kind}">{_escape(text)}</p>'


def _tiles(run):
    """What changed from the first net to the selected (or latest) one."""
    first, net = run.rounds[0], run.net
    tiles = []
    for key, word, shown in (
        ("layers", "Layers", str),
        ("macs", "MACs", lambda count: short(count, 1).replace(" ", "\N{NBSP}")),
        ("parameters", "Parameters", "{:,}".format),
    ):
        aside = f"{100 * net[key] / first[key]:.1f} % of the initial net"
        tiles.append((word, shown(first[key]), shown(net[key]), aside))
    for split in run.splits:
        value, images = run.accuracy(net, split), run.examples(split)
        if value is None:
            continue
        aside = ""
        if images:
            low, high = map(percent, plots.wilson(value, images))
            aside = f"95 %: {low}–{high} ({images:,} images)"
        word = f"{split.capitalize()} accuracy, %"
        start = percent(run.accuracy(first, split))
        tiles.append((word, start, percent(value), aside))
    epochs, seconds = _totals(run)
    plural = "s" if len(run.rounds) > 1 else ""
    aside = f"{len(run.rounds)} round{plural}, {epochs:,} epochs"
    tiles.append(("Time", "", _duration(seconds), aside))
    for word, start, value, aside in tiles:
        arrow = f"<small>{_escape(start)} →</small> " if start and net != first else ""
        value = arrow + _escape(value)
        yield (
            f'<div><dt>{_escape(word)}</dt><dd class="value">{value}</dd>'
            f'<dd class="aside">{_escape(aside)}</dd></div>'
        )


def _rounds(run):
    """The table of the rounds, with differences to the first one in small print."""
    first, body = run.rounds[0], ""
    for r in run.rounds:
        cells = [_cell(r["round"]), _cell(r["layers"])]
        for key in ("parameters", "macs"):
            cells.append(_cell(f"{r[key]:,}", f"{100 * r[key] / first[key]:.1f} %"))
        for split in run.splits:
            now, start = run.accuracy(r, split), run.accuracy(first, split)
            known = r is not first and None not in (now, start)
            # Adding 0 turns -0.0 into 0.0.
            delta = f"{round(100 * (now - start), 2) + 0:+.2f}" if known else ""
            cells.append(_cell(percent(now), delta.replace("-", "−")))
        names = _escape(", ".join(r["removed"]) or "–")
        cells.append(f'<td class="names mono">{names}</td>')
        mark = ' class="selected"' if r is run.selected else ""
        body += f"<tr{mark}>{''.join(cells)}</tr>\n"
    note = "Small print: % of the initial net, points above or below it."
    if run.selected:
        note = f"Marked: round {run.net['round']}, selected{run.rule}. {note}"
    stop = run.final.get("stop_reason")
    note += f" The run ended: {stop}." if stop else ""
    head = ["Round", "Layers", "Parameters", "MACs"]
    head += [f"{split.capitalize()}, %" for split in run.splits]
    return f'<p class="about">{_escape(note)}</p>' + _table(
        [*head, "Units removed"], body
    )


def _cost(run):
    """Epochs and seconds of each round, with bars, and their sums."""
    longest = max(r.get("seconds") or 0 for r in run.rounds) or 1
    body = ""
    for r in run.rounds:
        seconds, epochs = r.get("seconds") or 0, r.get("epochs") or 0
        each = f"{seconds / epochs:,.2f}" if epochs else "–"
        bar = f'<span class="bar" style="width:{100 * seconds / longest:.1f}%"></span>'
        cells = map(_cell, (r["round"], epochs, f"{seconds:,.1f}", each))
        body += f'<tr>{"".join(cells)}<td class="bars">{bar}</td></tr>\n'
    epochs, seconds = _totals(run)
    return f'<p class="about">{epochs:,} epochs, {_duration(seconds)} in all.</p>' + (
        _table(["Round", "Epochs", "Seconds", "Seconds an epoch", ""], body)
    )


def _totals(run):
    """Epochs and seconds of the whole run, as recorded or as far as it got."""
    total = [sum(r.get(key) or 0 for r in run.rounds) for key in ("epochs", "seconds")]
    keys = ("total_epochs", "total_seconds")
    return [run.final.get(key, known) for key, known in zip(keys, total, strict=True)]


def _cell(value, aside=None):
    small = "" if aside is None else f" <small>{_escape(aside)}</small>"
    return f"<td>{_escape(value)}{small}</td>"


def _table(head, body):
    head = "".join(f'<th scope="col">{_escape(word)}</th>' for word in head)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def _list(record):
    """A record of nested settings as a list of dotted names and values."""
    rows = "".join(
        f"<dt>{_escape(name)}</dt><dd>{_escape(value)}</dd>"
        for name, value in _flatten(record)
    )
    return f'<dl class="list">{rows}</dl>' if rows else _MISSING


def _flatten(record, prefix=""):
    for name, value in record.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            yield f"{prefix}{name}", text


def _command(run):
    """The command that repeats the run from its flags."""
    given = run.settings.get("command")
    if isinstance(given, str):
        return given
    program = "imagenet" if "imagenet" in _title(run).lower() else "cifar"
    # The last --run_dir counts: that of flags.txt holds this run, which is over.
    return f"python -m experiments.{program} --flagfile=flags.txt --run_dir=runs/again"


def _duration(seconds):
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{hours} h {minutes - 60 * hours:02d} min" if hours else f"{minutes} min"


def _escape(value):
    return html.escape(str(value))


def _parse(name, text):
    """A JSON object, empty if there is no text."""
    try:
        record = json.loads(text or "{}")
    except ValueError as error:
        raise ValueError(f"{name} is not JSON: {error}.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{name} must hold a JSON object. Received: {text[:60]!r}.")
    return record


def _parse_lines(name, text, keys, needed=()):
    """JSON objects, one a line. A repeated key, from a resumed run, replaces."""
    records = {}
    for number, line in enumerate(text.get(name, "").splitlines(), start=1):
        if line.strip():
            record = _parse(f"{name}, line {number},", line)
            missing = [key for key in (*keys, *needed) if key not in record]
            if missing:
                raise ValueError(f"{name}, line {number}, has no {missing[0]!r}.")
            records[tuple(record[key] for key in keys)] = record
    return [records[key] for key in sorted(records)]


def _write(path, text):
    """Replaces a file whole: a reader sees the old one or the new one."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".writing-{os.getpid()}-{path.name}")
    try:
        with open(temporary, "w", encoding="utf-8", errors="xmlcharrefreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def main(argv=None):
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description="Writes report.html and plots/*.svg from the records of a run.",
    )
    parser.add_argument("run_dir", help="the run directory, such as runs/demo")
    run_dir = parser.parse_args(argv).run_dir
    try:
        run = Run.read(run_dir)
        page = write_report(run_dir)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(format_rounds(run.rounds, run.final))
    print(f"Report: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
