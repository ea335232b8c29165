"""`python -m jitlogreg`: the command line."""

import sys

from jitlogreg.cli import main

if __name__ == "__main__":
    sys.exit(main())
