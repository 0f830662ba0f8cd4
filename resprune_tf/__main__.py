"""`python -m resprune_tf`: the same as `resprune`, though slower to start."""

import sys

from resprune_cli.main import main

sys.exit(main())
