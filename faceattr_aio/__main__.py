"""`python -m faceattr_aio` is the command line."""

import sys

from faceattr_aio.cli import main

if __name__ == "__main__":
    sys.exit(main())
