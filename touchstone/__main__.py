"""`python -m touchstone`."""

import sys

from touchstone.cli import main

sys.exit(main())
