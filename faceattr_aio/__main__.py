"""Runs the command line: `python -m faceattr_aio`."""

import sys

from faceattr_aio.cli import main

if __name__ == "__main__":
    sys.exit(main())
