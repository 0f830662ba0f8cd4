"""How the library draws, without importing the library; see `run_records`."""

from resprune_cli.options.registries import registry

_library = registry("report.drawing")
COLORS, draw = _library.COLORS, _library.draw
