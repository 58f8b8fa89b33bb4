"""`faceattr-aio config`: `show` prints every setting with its value and origin, `check` reports whether a server would
start with them.
"""

import argparse
import json

from faceattr_aio.cli import UNUSABLE
from faceattr_aio.cli.models import used_models, verify
from faceattr_aio.cli.supervisor import divide_config
from faceattr_aio.config import Config
from faceattr_aio.config.load import Origins, leaves, load_config, origin_of
from faceattr_aio.inference.models import ModelStore
from faceattr_aio.web.app import make_app


def run(parsed: argparse.Namespace) -> int:
    """Raises StartError."""
    config, origins = load_config(None, parsed.config)
    return _check(config, origins) if parsed.action == "check" else _show(config, origins)


def _show(config: Config, origins: Origins) -> int:
    """Print TOML with the origin of each value as a comment."""
    values = config.model_dump(mode="json")
    for name, entry in config.pipelines.items():
        values["pipelines"][name] |= entry.settings.model_dump(mode="json")
    current = ""
    for key, value in leaves(values):
        section, _, name = key.rpartition(".")
        if section != current:
            current = section
            print(f"\n[{section}]")
        origin = origin_of(key, origins)
        print(f"# {name} is not set" if value is None else f"{name} = {json.dumps(value)}  # {origin}")
    return 0


def _check(config: Config, origins: Origins) -> int:
    """Print a line for the settings and one for each model. Return 2 when a model is unusable. Raises StartError."""
    make_app(config.with_auto_pool("process"))  # starts nothing, but reads the files of keys
    divide_config(config, 0)
    sources = " and ".join(sorted(set(origins.values())))
    print(f"The settings are valid; read from {sources}." if sources else "The settings are valid; all are defaults.")
    return UNUSABLE if verify(ModelStore(config.models.dir), used_models(config)) else 0
