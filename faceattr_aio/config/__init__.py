"""Settings: their schema, and where they are read from."""

from faceattr_aio.config.schema import Config

__all__ = ["Config"]
