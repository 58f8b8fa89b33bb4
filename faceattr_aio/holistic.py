"""Alias of `faceattr_aio.pipelines.holistic`: the name that settings and documentation use."""

import sys
from importlib import import_module

sys.modules[__name__] = import_module("faceattr_aio.pipelines.holistic")
