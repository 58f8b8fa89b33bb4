"""Loads the settings for a command, with its flags."""

import argparse
import os
from collections import defaultdict
from typing import Any

from faceattr_aio.config import Config, load_config


def load(parsed: argparse.Namespace) -> Config:
    """Return the effective settings. The dest of a flag is its key: `server.port` for `--port`. Raises StartError."""
    flags = defaultdict[str, dict[str, Any]](dict)
    for name, value in vars(parsed).items():
        section, dot, key = name.partition(".")
        if dot and value is not None:
            flags[section][key] = value
    config, _ = load_config(flags, parsed.config)
    return config.with_auto_pool("process")


def limit_decoder(max_pixels: int) -> None:
    """Set OpenCV's own limit of pixels, in addition to `image.max_pixels`. Workers read it when they import OpenCV.

    Replaces an existing value, because OpenCV ends a process if the value is not a number.
    """
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(max_pixels)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
