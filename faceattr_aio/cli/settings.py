"""`faceattr-aio config show`: every setting with its value and where that came from."""

import argparse
import json

from faceattr_aio.sources import leaves, load


def run(parsed: argparse.Namespace) -> int:
    """Prints TOML with the origin of each value as a comment. Raises StartError."""
    config, origins = load(None, parsed.config)
    values = config.model_dump(mode="json")
    for name, entry in config.pipelines.items():
        values["pipelines"][name] |= entry.settings.model_dump(mode="json")
    section = ""
    for key, value in leaves(values):
        here, _, name = key.rpartition(".")
        if here != section:
            section = here
            print(f"\n[{section}]")
        written = "# not set" if value is None else json.dumps(value)
        origin = next((origin for known, origin in origins.items() if f"{key}.".startswith(f"{known}.")), "default")
        print(f"{name} = {written}  # {origin}" if value is not None else f"# {name} is not set  # {origin}")
    return 0
