"""Pure modules of the library, loaded without importing the library.

`resprune_tf` starts Keras, which code that only reads and draws records does not need.
"""

from resprune_cli.options.registries import registry

_drawing, _records = registry("report.drawing"), registry("report.run_records")
COLORS, draw = _drawing.COLORS, _drawing.draw
RunRecords, wilson = _records.RunRecords, _records.wilson
percent, short = _records.percent, _records.short
Architecture = registry("nets.architecture").Architecture
_wording = registry("system.wording")
counted, first_line = _wording.counted, _wording.first_line
_paired = registry("runs.paired")
compare_correct, mcnemar = _paired.compare_correct, _paired.mcnemar
