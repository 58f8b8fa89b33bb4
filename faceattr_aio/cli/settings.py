"""`faceattr-aio config show`: every setting with its value and where that came from."""

import argparse
import json

from faceattr_aio.sources import leaves, load_config, origin_of


def run(parsed: argparse.Namespace) -> int:
    """Prints TOML with the origin of each value as a comment. Raises StartError."""
    config, origins = load_config(None, parsed.config)
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
