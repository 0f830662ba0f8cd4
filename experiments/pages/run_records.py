"""What the library knows of run records, without importing the library.

`resprune_tf` starts Keras, which what only reads and draws records does not need.
"""

from resprune_cli.options.registries import registry

_library = registry("report.run_records")
RunRecords, wilson = _library.RunRecords, _library.wilson
percent, short = _library.percent, _library.short
