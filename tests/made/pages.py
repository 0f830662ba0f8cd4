"""Reading of generated pages and drawings."""

import xml.etree.ElementTree as ElementTree


def cells(page, *starts):
    """Cells of the first row of a page whose cells begin with some texts."""
    for line in page.splitlines():
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if len(row) >= len(starts) and all(map(str.startswith, row, starts)):
            return row
    raise AssertionError(f"no row {starts}")


def words(svg):
    """All texts of a drawing."""
    root = ElementTree.fromstring(svg)
    return ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]
