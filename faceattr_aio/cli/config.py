"""`faceattr-aio config`: `show` tells every setting with its value and where that came from, `check` whether a server
would start with them.
"""

import argparse
import json

from faceattr_aio.cli import UNUSABLE
from faceattr_aio.cli.models import used, verify
from faceattr_aio.cli.supervisor import divide_config
from faceattr_aio.config.load import Origins, leaves, load_config, origin_of
from faceattr_aio.config.schema import Config
from faceattr_aio.inference.models import ModelStore
from faceattr_aio.web.app import make_app


def run(parsed: argparse.Namespace) -> int:
    """Raises StartError."""
    config, origins = load_config(None, parsed.config)
    return _check(config, origins) if parsed.action == "check" else _show(config, origins)


def _show(config: Config, origins: Origins) -> int:
    """Prints TOML with the origin of each value as a comment."""
    values = config.model_dump(mode="json")
    for name, entry in config.pipelines.items():
        values["pipelines"][name] |= entry.settings.model_dump(mode="json")
    section = ""
    for key, value in leaves(values):
        here, _, name = key.rpartition(".")
        if here != section:
            section = here
            print(f"\n[{section}]")
        origin = origin_of(key, origins)
        print(f"# {name} is not set" if value is None else f"{name} = {json.dumps(value)}  # {origin}")
    return 0


def _check(config: Config, origins: Origins) -> int:
    """A sentence for the settings and one for each model; status 2 when a server would not start. Raises StartError."""
    make_app(config.with_auto_pool("process"))  # which starts nothing, and reads the files of keys
    if config.server.processes > 1:
        divide_config(config, 0)
    read = sorted(set(origins.values()))
    print(f"The settings can be used; read from {' and '.join(read)}." if read else "The settings are all defaults.")
    return UNUSABLE if verify(ModelStore(config.models.dir), used(config)) else 0
