"""Checks that the files and settings that docs/operate.md names exist."""

import re

from faceattr_aio.config.load import leaves
from faceattr_aio.config.schema import Config
from tests.support.process import ROOT

TEXT = (ROOT / "docs" / "operate.md").read_text()


def test_every_named_file_exists() -> None:
    named = set(re.findall(r"\bconf/[\w./-]+\w", TEXT)) | {link[3:] for link in re.findall(r"\]\((\.\./[^)#]+)", TEXT)}
    assert {"conf/systemd/faceattr-aio.service", "conf/nginx/faceattr.conf", "conf/kubernetes"} <= named
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_every_named_setting_exists() -> None:
    known = {key for key, _ in leaves(Config().model_dump(mode="json"))}
    sections = "|".join(Config.model_fields)
    named = set(re.findall(rf"`((?:{sections})\.\w+)", TEXT))
    assert {"inference.limit", "upload.max_spool_bytes", "clients.trusted_proxies"} <= named
    assert named <= known
