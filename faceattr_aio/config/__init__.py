"""The settings: their schema, and how they are loaded."""

from faceattr_aio.config.load import load_config, load_extra
from faceattr_aio.config.schema import Config

__all__ = ["Config", "load_config", "load_extra"]
