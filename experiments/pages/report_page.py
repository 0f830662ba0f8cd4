"""The web page of a run's report.

`report_template.html` holds its look and its fixed words.
"""

import html
import json
import pathlib
import string

from experiments.pages.run_records import wilson
from experiments.pages.summary import headline, percent, rule, short
from experiments.pages.unit_strip import net_strip

_TEMPLATE = pathlib.Path(__file__).with_name("report_template.html")
_MISSING = '<p class="about">Not recorded yet.</p>'


def make_page(run, figures):
    """The page as text.

    Args:
        run: a `Run`.
        figures: HTML of the plots by their name in the template; empty ones are
            shown as not recorded yet.
    """
    figures = {name: figure or _MISSING for name, figure in figures.items()}
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        figures,
        title=_escape(_title(run)),
        headline=_headline(run),
        callouts="".join(_callouts(run)),
        tiles="".join(_tiles(run)) if run.rounds else "",
        net=net_strip(run) if run.rounds else _MISSING,
        rounds=_rounds(run) if run.rounds else _MISSING,
        cost=_cost(run) if run.rounds else _MISSING,
        command=_escape(_command(run)),
        flags=_escape(run.flags or "(no flags recorded)"),
        settings=_list(run.settings),
        environment=_list(run.environment),
    )


def _title(run):
    name = run.settings.get("dataset", {}).get("name")
    title = "Residual network"
    title += f" of {run.rounds[0]['layers']} layers" if run.rounds else ""
    title += f" on {name}" if name else ""
    seed = run.settings.get("seed")
    return title if seed is None else f"{title}, seed {seed}"


def _headline(run):
    """The sentence in two sizes: what was removed, then what it did."""
    text = _escape(headline(run).replace(" -> ", " → ").replace(" %", "\N{NBSP}%"))
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
        value, images = run.watched(net, split), run.examples(split)
        if value is None:
            continue
        aside = ""
        if images and run.in_percent:
            low, high = map(percent, wilson(value, images))
            aside = f"95 %: {low}–{high} ({images:,} images)"
        word = f"{split.capitalize()} {run.label}"
        start = run.show(run.watched(first, split))
        tiles.append((word, start, run.show(value), aside))
    epochs, seconds = run.total("epochs"), run.total("seconds")
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
            now, start = run.watched(r, split), run.watched(first, split)
            known = r is not first and None not in (now, start)
            delta = _difference(run, now - start) if known else ""
            cells.append(_cell(run.show(now), delta.replace("-", "−")))
        names = _escape(", ".join(r["removed"]) or "–")
        cells.append(f'<td class="names mono">{names}</td>')
        mark = ' class="selected"' if r is run.selected else ""
        body += f"<tr{mark}>{''.join(cells)}</tr>\n"
    note = "Small print: % of the initial net, points above or below it."
    if run.selected:
        note = f"Marked: round {run.net['round']}, selected{rule(run)}. {note}"
    stop = run.final.get("stop_reason")
    note += f" The run ended: {stop}." if stop else ""
    head = ["Round", "Layers", "Parameters", "MACs"]
    unit = ", %" if run.in_percent else f" {run.monitor}"
    head += [f"{split.capitalize()}{unit}" for split in run.splits]
    return f'<p class="about">{_escape(note)}</p>' + _table(
        [*head, "Units removed"], body
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
        _table(["Round", "Epochs", "Seconds", "Seconds an epoch", ""], body)
    )


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
    if "compiled" in run.settings:
        return "prune_and_retrain(...)  # a run of one's own: it has no command line"
    program = "imagenet" if "imagenet" in _title(run) else "cifar"
    # The last --run_dir counts: that of flags.txt holds this run, which is over.
    return f"python -m experiments.{program} --flagfile=flags.txt --run_dir=runs/again"


def _duration(seconds):
    minutes, hours = round(seconds / 60), int(seconds // 3600)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{hours} h {minutes - 60 * hours:02d} min" if hours else f"{minutes} min"


def _escape(value):
    return html.escape(str(value))
