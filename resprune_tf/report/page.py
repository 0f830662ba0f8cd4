"""The page of a report; `template.html` contains its style and its fixed text."""

import json
import pathlib
import string

from resprune_tf.report.plots import has_latencies
from resprune_tf.report.run_records import percent, short, wilson
from resprune_tf.report.summary import headline, paired, paired_tests, rule
from resprune_tf.report.units import about, escape, units_table
from resprune_tf.runs.judging import format_p
from resprune_tf.system.wording import busy_note, counted

_TEMPLATE = pathlib.Path(__file__).with_name("template.html")
_MISSING = '<p class="about">No data recorded.</p>'


def make_page(run, figures, files):
    """Returns the page as HTML.

    Args:
        run: a `RunRecords`.
        figures: dict with the HTML of the plots `"tradeoff"` and `"training"`, "" for
            a plot without data.
        files: the result of `files.list_files`.
    """
    begun = bool(run.rounds)
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(_title(run)),
        headline=escape(headline(run).replace(" %", "\N{NBSP}%")),
        tests="".join(f"<p>{escape(text)}</p>" for text in _tests(run)),
        callouts="".join(_callouts(run)),
        tiles="".join(_tiles(run)) if begun else "",
        tradeoff=_figure(figures["tradeoff"], _about_tradeoff(run)),
        files=_files(files),
        rounds=_rounds(run) if begun else _MISSING,
        about_units=escape(about(run)) if begun else "",
        units=units_table(run) if begun else _MISSING,
        training=_training(run, figures["training"]) if run.total("epochs") else "",
        again=_again(run),
        settings=_about_settings(run) + _list(_settings(run)),
        environment=_list(run.environment),
        omega=_OMEGA if run.importances else "",
    )


_OMEGA = (
    "<dt>ω</dt><dd>Importance: the learned scalar that multiplies the branch of a "
    "residual unit. If it is near 0, the unit changes little.</dd>"
)


def _tests(run):
    """The results of McNemar's tests and their explanation; empty without results."""
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
    return f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>"


def _training(run, drawn):
    caption = (
        "Loss and monitored value on the training data in every epoch of every round. "
        "Each retraining begins with the weights of the previous round and a new "
        "optimizer."
    )
    return (
        f"<h2>Training</h2>{_figure(drawn, caption)}"
        f"<h2>Cost of the run</h2>{_cost(run)}"
    )


def _about_tradeoff(run):
    costs = "multiply-accumulate operations (MACs)"
    if has_latencies(run):
        costs += " and against the measured latency"
    text = f"{run.monitor.capitalize()} against {costs}. Each point is a round"
    if run.in_percent and any(run.examples(split) for split in run.splits):
        text += (
            "; bars are 95\u00a0% Wilson intervals for the number of examples. A "
            "difference well inside the bars is weak evidence"
        )
    return f"{text}."


def _files(files):
    rows = "".join(
        f'<tr><td><span class="mono">{escape(name)}</span> '
        f"<small>{escape(content)}</small></td><td>{size:,}</td></tr>"
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
        texts.append(("alert", "This run is unfinished, so the results may change."))
    if diverged := run.final.get("diverged"):
        texts.append(("alert", diverged["reason"]))
    if note := busy_note(*map(run.load, run.rounds)):
        texts.append(("note", note))
    if run.rounds and run.split == "test":
        texts.append(
            (
                "alert",
                f"Selected on the test set: the test {run.monitor} is optimistic, "
                "because it also selected the model.",
            )
        )
    for kind, text in texts:
        yield f'<p class="callout {kind}">{escape(text)}</p>'


def _tiles(run):
    """Yields each measure of the initial and the reported model, as HTML."""
    first, last = run.rounds[0], run.reported
    tiles = []
    for key, word, as_text in (
        ("layers", "Layers", str),
        ("macs", "MACs", lambda count: short(count, 1).replace(" ", "\N{NBSP}")),
        ("parameters", "Parameters", "{:,}".format),
    ):
        aside = f"{100 * last[key] / first[key]:.1f} % of the initial model"
        tiles.append((word, as_text(first[key]), as_text(last[key]), aside))
    before, after = run.latency(first), run.latency(last)
    if before and after:
        aside = f"{100 * after / before:.1f} % of the initial model"
        tiles.append(("Latency", f"{before:.4g}", f"{after:.4g}\N{NBSP}ms", aside))
    for split in run.splits:
        value, examples = run.monitored(last, split), run.examples(split)
        if value is None:
            continue
        aside = ""
        if examples and run.in_percent:
            low, high = map(percent, wilson(value, examples))
            aside = f"95 % interval: {low}–{high} ({examples:,} examples)"
        word = f"{split.capitalize()} {run.label}"
        start = run.show(run.monitored(first, split))
        tiles.append((word, start, run.show(value), aside))
    if seconds := run.total("seconds"):
        rounds = counted(len(run.rounds), "round")
        aside = f"{rounds}, {counted(run.total('epochs'), 'epoch')}"
        tiles.append(("Time", "", _duration(seconds), aside))
    for word, start, value, aside in tiles:
        arrow = f"<small>{escape(start)} →</small> " if start and last != first else ""
        value = arrow + escape(value)
        yield (
            f'<div><dt>{escape(word)}</dt><dd class="value">{value}</dd>'
            f'<dd class="aside">{escape(aside)}</dd></div>'
        )


def _rounds(run):
    """The table of the rounds, with differences from the first one in small print."""
    first, body = run.rounds[0], ""
    for r in run.rounds:
        macs, parameters = (
            _cell(as_text(r[key]), f"{100 * r[key] / first[key]:.1f} %")
            for key, as_text in (("macs", short), ("parameters", "{:,}".format))
        )
        cells = [_cell(r["round"]), _cell(r["layers"]), macs]
        for split in run.splits:
            now, start = run.monitored(r, split), run.monitored(first, split)
            known = r is not first and None not in (now, start)
            delta = _difference(run, now - start) if known else ""
            if found := paired(run, r, split):
                delta += f" ({format_p(found['p'])})"
            cells.append(_cell(run.show(now), delta.replace("-", "−")))
        if has_latencies(run):
            now = run.latency(r)
            cells.append(_cell("–" if now is None else f"{now:.4g}"))
        cells.append(parameters)
        names = escape(", ".join(r["removed"]) or "–")
        cells.append(f'<td class="names mono">{names}</td>')
        mark = ' class="selected"' if r is run.selected else ""
        body += f"<tr{mark}>{''.join(cells)}</tr>\n"
    note = "In small print: % of the initial model, and the difference from it"
    if run.in_percent:
        note += " in percentage points"
    if any(paired(run, r, split) for r in run.rounds for split in run.splits):
        note += " with the p-value of McNemar's exact test"
    note += "."
    if run.selected:
        note = (
            f"Highlighted: round {run.selected['round']}, selected{rule(run)}. {note}"
        )
    stop = run.final.get("stop_reason")
    note += f" The run ended: {stop}." if stop else ""
    head = ["Round", "Layers", "MACs"]
    head += [f"{split.capitalize()} {run.label}" for split in run.splits]
    head += ["Latency, ms"] if has_latencies(run) else []
    return f'<p class="about">{escape(note)}</p>' + _table(
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
    epochs, duration = counted(run.total("epochs"), "epoch"), run.total("seconds")
    head = ["Round", "Epochs", "Seconds", "Seconds per epoch", ""]
    total = f'<p class="about">In total {epochs}, {_duration(duration)}.</p>'
    return total + _table(head, body)


def _cell(value, aside=None):
    small = "" if aside is None else f" <small>{escape(aside)}</small>"
    return f"<td>{escape(value)}{small}</td>"


def _table(head, body, kind=""):
    head = "".join(f'<th scope="col">{escape(word)}</th>' for word in head)
    return (
        f'<div class="scroll {kind}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def _about_settings(run):
    """Says which learning rate was used; empty for a `Recipe`, which has only one."""
    if "compiled" not in run.settings:
        return ""
    return (
        '<p class="about">The values of <b>recipe</b> (initial training) and '
        "<b>retrain_recipe</b> replace those of <b>compiled</b>, with which the model "
        "was compiled. Where they are null, those of <b>compiled</b> were used.</p>"
    )


def _settings(run):
    """The settings of the run; names the teacher that the loop takes by default."""
    if run.settings.get("guidance") and not run.settings.get("teacher"):
        return {**run.settings, "teacher": "the model of round 0"}
    return run.settings


def _list(record):
    """Nested settings as an HTML list of dotted names and values."""
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
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
    """The command that repeats the run, as HTML."""
    flags = f"<pre>{escape(run.flags)}</pre>" if run.flags else ""
    if flags and not run.flags.startswith("--"):  # `resprune` writes the whole command
        return flags
    if "compiled" in run.settings or not flags:
        return f'<p class="about">The run was started from Python.</p>{flags}'
    program = "imagenet" if "imagenet" in _title(run) else "cifar"
    # Of several --run_dir the last one counts. The one in flags.txt is this run's.
    command = f"experiments.{program} --flagfile=flags.txt --run_dir=runs/again"
    return (
        f'<pre>python -m {command}</pre><p class="about">The command uses the '
        "<code>flags.txt</code> of this run and a new run directory. The file "
        f"contains:</p>{flags}"
    )


def _duration(seconds):
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
