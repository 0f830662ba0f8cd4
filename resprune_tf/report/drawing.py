"""Plots as SVG, and these as a part of an HTML page.

A plot is drawn with fixed light colours; `inline` turns these into the CSS variables
of the page, which lets one drawing follow light and dark mode. Nothing here depends on
the clock or on the user's matplotlib settings: the same records give the same bytes.

Pure Python but for matplotlib: `experiments` load this file without the library.
"""

import html
import io
import re

# One colour for each role. The page defines `--plot-<role>`, in light and dark.
COLORS = {
    "surface": "#ffffff",
    "ink": "#24272c",
    "muted": "#6c7078",
    "grid": "#e6e4de",
    "band": "#f4f2ed",
    "prior": "#d9d6cd",
    "selection": "#2456a6",
    "test": "#b3610b",
    "initial": "#c22f2f",
}
WIDTHS = {"wide": 7.6, "narrow": 4.0}  # inches: a desktop column, a phone
_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLORS["muted"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": COLORS["ink"],
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": COLORS["surface"],
    "font.size": 9.5,
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.borderpad": 0.2,
    "legend.borderaxespad": 0.2,
    "lines.linewidth": 1.6,
    "path.simplify_threshold": 0.3,  # thousands of epochs: a third of the file
    "svg.fonttype": "none",
    "svg.hashsalt": "resprune",  # ids of clip paths come from it, not from the clock
    "text.color": COLORS["ink"],
    "text.parse_math": False,  # names of units may hold a dollar sign
    "xtick.color": COLORS["muted"],
    "xtick.labelcolor": COLORS["ink"],
    "ytick.color": COLORS["muted"],
    "ytick.labelcolor": COLORS["ink"],
}


def draw(paint, run, width=WIDTHS["wide"], height=3.4):
    """Calls `paint(figure, run)` on a new figure and returns it as SVG text."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure, run)
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing)
    return text.getvalue()


def inline(svg, prefix, label):
    """SVG text made fit for an HTML page: own ids, the page's colours, any width."""
    view_box = re.search(r'viewBox="[^"]*"', svg)[0]
    svg = svg[svg.index(">", svg.index("<svg")) + 1 :]
    # Several drawings share the ids of one page.
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    for role, color in COLORS.items():
        svg = svg.replace(color, f"var(--plot-{role})")
    return f'<svg role="img" aria-label="{html.escape(label)}" {view_box}>{svg}'
