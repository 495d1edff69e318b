"""``python -m pytest_trtgate.cli`` is ``trtgate``."""

import sys

from . import main

sys.exit(main())
