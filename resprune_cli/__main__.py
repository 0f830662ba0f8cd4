"""Runs `resprune` by `python -m resprune_cli`."""

import sys

from resprune_cli.main import main

sys.exit(main())
