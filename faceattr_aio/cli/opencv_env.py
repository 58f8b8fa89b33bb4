"""The decoder's own bounds, behind ours: the vision library reads them as it is imported, in the workers. Only a
program of its own may set them.
"""

import os

from faceattr_aio.config.schema import Config


def bound_pixels(config: Config) -> None:
    """Whatever was set before: the library ends a process that finds no number there."""
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(config.image.max_pixels)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
