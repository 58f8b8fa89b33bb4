"""Defaults, ranges and cross-checks of the settings."""

import os
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from faceattr_aio.config.load import leaves
from faceattr_aio.config.schema import Config, InferenceConfig

ROOT = Path(__file__).parents[2]


def test_the_defaults_have_the_documented_values() -> None:
    config = Config()
    assert (config.server.host, config.server.port, config.server.drain_s) == ("127.0.0.1", 5000, 20)
    assert config.upload.max_bytes == 20 * 1024 * 1024
    assert config.image.formats == ("jpeg", "png", "webp")
    assert config.pipelines["faces"].path == "/analyze"


def test_the_default_is_one_worker_for_each_core_and_four_slots_for_each_worker() -> None:
    assert InferenceConfig().worker_count == len(os.sched_getaffinity(0))
    assert InferenceConfig(workers=3).limit_count == 12
    assert InferenceConfig(workers=3, limit=5).limit_count == 5


def test_a_range_of_workers_starts_with_its_minimum() -> None:
    workers = InferenceConfig(workers_min=2, workers_max=5)
    assert (workers.worker_count, workers.max_workers, workers.limit_count) == (2, 5, 8)
    assert (InferenceConfig(workers=3).worker_count, InferenceConfig(workers=3).max_workers) == (3, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"workers_min": 1}, "set workers_min and workers_max together"),
        ({"workers_max": 4}, "set workers_min and workers_max together"),
        ({"workers_min": 5, "workers_max": 4}, "set workers_min and workers_max together"),
        ({"workers_min": 1, "workers_max": 4, "workers": 2}, "set only one of them"),
    ],
)
def test_refuses_an_invalid_range_of_workers(values: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InferenceConfig.model_validate(values)


def test_the_constructor_does_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEATTR_SERVER__PORT", "1234")
    assert Config().server.port == 5000


def test_a_built_in_pipeline_keeps_its_factory_and_path_when_other_keys_are_set() -> None:
    config = Config(pipelines={"faces": {"detector": "yunet"}})
    assert config.pipelines["faces"].path == "/analyze"
    assert config.pipelines["faces"].settings.model_dump()["detector"] == "yunet"


def test_a_pipeline_that_is_not_built_in_needs_a_factory() -> None:
    with pytest.raises(ValidationError, match="factory"):
        Config(pipelines={"mine": {"path": "/mine"}})


def test_the_shipped_configuration_file_lists_every_key_with_its_default() -> None:
    text = (ROOT / "conf" / "faceattr.toml").read_text()
    config = Config()
    defaults = config.model_dump(mode="json")
    for name, entry in config.pipelines.items():
        defaults["pipelines"][name] |= entry.settings.model_dump(mode="json")
    written = {key: value for key, value in leaves(tomllib.loads(text)) if value != {}}
    expected = dict(leaves(defaults))
    assert {key: value for key, value in expected.items() if value is not None} == written
    for key in (key for key, value in expected.items() if value is None):
        assert f"\n# {key.rpartition('.')[2]} = " in text


def test_refuses_two_pipelines_with_the_same_path() -> None:
    entry = {"factory": "tests.support.pipelines:Trick", "path": "/analyze"}
    with pytest.raises(ValidationError, match="two pipelines have the same path"):
        Config.model_validate({"pipelines": {"trick": entry, "faces": {}}})


def test_refuses_a_factory_that_is_not_a_declaration() -> None:
    with pytest.raises(ValidationError, match="not a pipeline declaration"):
        Config.model_validate({"pipelines": {"trick": {"factory": "os:path", "path": "/trick"}}})


def test_the_program_chooses_the_pool_only_if_it_is_auto() -> None:
    assert Config().with_auto_pool("process").inference.pool == "process"
    chosen = Config.model_validate({"inference": {"pool": "thread"}})
    assert chosen.with_auto_pool("process") is chosen


def test_refuses_a_spool_smaller_than_one_request() -> None:
    with pytest.raises(ValidationError, match="max_spool_bytes must be at least max_bytes"):
        Config.model_validate({"upload": {"max_bytes": 1000, "max_spool_bytes": 999}})
