"""`python -m occface_core`."""

import sys

from occface_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
