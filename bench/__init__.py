"""Measurements of faceattr_aio, grouped by question; README.md lists them. Not part of the package.

`python -m bench.NAME` runs a measurement of any folder.
"""

from pathlib import Path

__path__ += [str(Path(__file__).parent / folder) for folder in ("speed", "load", "faults", "accuracy")]
