"""The web page of a report; `template.html` holds its look and its fixed words."""

import html
import json
import pathlib
import string

from resprune_tf.report import units
from resprune_tf.report.plots import latencies
from resprune_tf.report.run_records import percent, short, wilson
from resprune_tf.report.summary import headline, paired, paired_tests, rule
from resprune_tf.runs.judging import format_p

_TEMPLATE = pathlib.Path(__file__).with_name("template.html")
_MISSING = '<p class="about">Nothing is recorded.</p>'


def make_page(run, figures, files):
    """The page as text.

    Args:
        run: a `RunRecords`.
        figures: HTML of the plots `"tradeoff"` and `"training"`; "" where nothing is
            recorded that could be drawn.
        files: what `files.written` returned.
    """
    begun = bool(run.rounds)
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=_escape(_title(run)),
        headline=_escape(headline(run).replace(" %", "\N{NBSP}%")),
        tests="".join(f"<p>{_escape(text)}</p>" for text in _tests(run)),
        callouts="".join(_callouts(run)),
        tiles="".join(_tiles(run)) if begun else "",
        tradeoff=_figure(figures["tradeoff"], _about_tradeoff(run)),
        files=_files(files),
        rounds=_rounds(run) if begun else _MISSING,
        about_units=_escape(units.about(run)) if begun else "",
        units=units.units_table(run) if begun else _MISSING,
        training=_training(run, figures["training"]) if run.total("epochs") else "",
        again=_again(run),
        settings=_list(run.settings),
        environment=_list(run.environment),
        words=_WORDS if run.importances else "",
    )


_WORDS = (
    "<dt>ω</dt><dd>Importance: the learned scalar that multiplies a unit’s residual "
    "branch. If it is near 0, the unit changes little.</dd>"
)


def _tests(run):
    """McNemar's tests, and what they mean."""
    found = paired_tests(run) if run.rounds else []
    if found:
        found.append(
            "A small p-value, such as p < 0.05, means that chance hardly explains the "
            "difference in accuracy. A large one means that these examples do not show "
            "which of the two models is more accurate."
        )
    return found


def _figure(drawn, caption):
    if not drawn:
        return _MISSING
    return f"<figure>{drawn}<figcaption>{_escape(caption)}</figcaption></figure>"


def _training(run, drawn):
    caption = (
        "Loss and monitored value on the training data in every epoch of every round. "
        "Each retraining begins with the weights of the round before and a new "
        "optimizer."
    )
    return (
        f"<h2>Training</h2>{_figure(drawn, caption)}"
        f"<h2>Cost of the run</h2>{_cost(run)}"
    )


def _about_tradeoff(run):
    costs = "multiply-accumulate operations (MACs)"
    if latencies(run):
        costs += " and against the measured latency"
    text = f"{run.monitor.capitalize()} against {costs}. Each point is a round"
    if run.in_percent and any(run.examples(split) for split in run.splits):
        text += (
            "; bars are 95 % Wilson intervals for the number of examples: a difference "
            "well inside the bars is weak evidence"
        )
    return f"{text}."


def _files(files):
    rows = "".join(
        f'<tr><td><span class="mono">{_escape(name)}</span> '
        f"<small>{_escape(content)}</small></td><td>{size:,}</td></tr>"
        for name, content, size in files
    )
    return _table(["File", "Bytes"], rows, "files") if rows else _MISSING


def _title(run):
    name = run.settings.get("dataset", {}).get("name")
    title = "Pruning report"
    title += f" on {name}" if name else ""
    seed = run.settings.get("seed")
    return title if seed is None else f"{title}, seed {seed}"


def _callouts(run):
    texts = [("note", run.final["note"])] if run.final.get("note") else []
    if not run.final:
        texts.append(("alert", "This run is unfinished: what follows may change."))
    if diverged := run.final.get("diverged"):
        texts.append(("alert", diverged["reason"]))
    if run.rounds and run.split == "test":
        texts.append(
            (
                "alert",
                "Selected on the test set: the accuracy reported is the one that "
                "selected the model, and so is optimistic.",
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
        aside = f"{100 * net[key] / first[key]:.1f} % of the initial model"
        tiles.append((word, shown(first[key]), shown(net[key]), aside))
    before, after = run.latency(first), run.latency(net)
    if before and after:
        aside = f"{100 * after / before:.1f} % of the initial model"
        tiles.append(("Latency", f"{before:.4g}", f"{after:.4g}\N{NBSP}ms", aside))
    for split in run.splits:
        value, images = run.watched(net, split), run.examples(split)
        if value is None:
            continue
        aside = ""
        if images and run.in_percent:
            low, high = map(percent, wilson(value, images))
            aside = f"95 %: {low}–{high} ({images:,} examples)"
        word = f"{split.capitalize()} {run.label}"
        start = run.show(run.watched(first, split))
        tiles.append((word, start, run.show(value), aside))
    epochs, seconds = run.total("epochs"), run.total("seconds")
    plural = "s" if len(run.rounds) > 1 else ""
    aside = f"{len(run.rounds)} round{plural}, {epochs:,} epochs"
    if seconds:
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
        macs, parameters = (
            _cell(told(r[key]), f"{100 * r[key] / first[key]:.1f} %")
            for key, told in (("macs", short), ("parameters", "{:,}".format))
        )
        cells = [_cell(r["round"]), _cell(r["layers"]), macs]
        for split in run.splits:
            now, start = run.watched(r, split), run.watched(first, split)
            known = r is not first and None not in (now, start)
            delta = _difference(run, now - start) if known else ""
            if found := paired(run, r, split):
                delta += f" ({format_p(found['p'])})"
            cells.append(_cell(run.show(now), delta.replace("-", "−")))
        if latencies(run):
            now = run.latency(r)
            cells.append(_cell("–" if now is None else f"{now:.4g}"))
        cells.append(parameters)
        names = _escape(", ".join(r["removed"]) or "–")
        cells.append(f'<td class="names mono">{names}</td>')
        mark = ' class="selected"' if r is run.selected else ""
        body += f"<tr{mark}>{''.join(cells)}</tr>\n"
    note = "Small print: % of the initial model, and the difference from it"
    if run.in_percent:
        note += " in percentage points"
    if any(paired(run, r, split) for r in run.rounds for split in run.splits):
        note += " with the p-value of McNemar's exact test"
    note += "."
    if run.selected:
        note = f"Marked: round {run.net['round']}, selected{rule(run)}. {note}"
    stop = run.final.get("stop_reason")
    note += f" The run ended: {stop}." if stop else ""
    head = ["Round", "Layers", "MACs"]
    unit = ", %" if run.in_percent else f" {run.monitor}"
    head += [f"{split.capitalize()}{unit}" for split in run.splits]
    head += ["Latency, ms"] if latencies(run) else []
    return f'<p class="about">{_escape(note)}</p>' + _table(
        [*head, "Parameters", "Units removed"], body
    )


def _difference(run, value):
    # Adding 0 turns -0.0 into 0.0.
    return (
        f"{round(100 * value, 2) + 0:+.2f}" if run.in_percent else f"{value + 0:+.4g}"
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
    epochs, seconds = run.total("epochs"), run.total("seconds")
    return f'<p class="about">{epochs:,} epochs, {_duration(seconds)} in all.</p>' + (
        _table(["Round", "Epochs", "Seconds", "Seconds per epoch", ""], body)
    )


def _cell(value, aside=None):
    small = "" if aside is None else f" <small>{_escape(aside)}</small>"
    return f"<td>{_escape(value)}{small}</td>"


def _table(head, body, kind=""):
    head = "".join(f'<th scope="col">{_escape(word)}</th>' for word in head)
    return (
        f'<div class="scroll {kind}"><table><thead><tr>{head}</tr></thead>'
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


def _again(run):
    """The command that repeats the run."""
    flags = f"<pre>{_escape(run.flags)}</pre>" if run.flags else ""
    if flags and not run.flags.startswith("--"):  # the command itself
        return flags
    if "compiled" in run.settings or not flags:
        return f'<p class="about">The run was started from Python.</p>{flags}'
    program = "imagenet" if "imagenet" in _title(run) else "cifar"
    # The last --run_dir counts: that of flags.txt holds this run, which is over.
    command = f"experiments.{program} --flagfile=flags.txt --run_dir=runs/again"
    return (
        f'<pre>python -m {command}</pre><p class="about">with the '
        "<code>flags.txt</code> of this run, and a new folder for the new one:</p>"
        f"{flags}"
    )


def _duration(seconds):
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{hours} h {minutes - 60 * hours:02d} min" if hours else f"{minutes} min"


def _escape(value):
    return html.escape(str(value))
