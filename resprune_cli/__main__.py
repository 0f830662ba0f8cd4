"""`python -m resprune_cli`: the same as `resprune`."""

import sys

from resprune_cli.main import main

sys.exit(main())
