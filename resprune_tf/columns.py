"""Tables of text."""


def aligned(*rows):
    """Lines of columns: the first to the left, the others to the right.

    Args:
        *rows: sequences of as many str each.

    Returns:
        list of str, one a row, two blanks between columns.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [c.rjust(w) for c, w in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines
