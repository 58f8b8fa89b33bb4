import os
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from faceattr_aio.config.load import leaves
from faceattr_aio.config.schema import Config, Inference

ROOT = Path(__file__).parents[2]


def test_the_defaults_are_those_of_the_contract() -> None:
    config = Config()
    assert (config.server.host, config.server.port, config.server.drain_s) == ("127.0.0.1", 5000, 20)
    assert config.upload.max_bytes == 20 * 1024 * 1024
    assert config.image.formats == ("jpeg", "png", "webp")
    assert config.pipelines["faces"].path == "/analyze"


def test_one_worker_for_each_core_and_four_slots_for_each_worker() -> None:
    assert Inference().worker_count == len(os.sched_getaffinity(0))
    assert Inference(workers=3).limit_count == 12
    assert Inference(workers=3, limit=5).limit_count == 5


def test_a_range_of_workers_begins_with_the_fewest() -> None:
    range_ = Inference(workers_min=2, workers_max=5)
    assert (range_.worker_count, range_.most_workers, range_.limit_count) == (2, 5, 8)
    assert (Inference(workers=3).worker_count, Inference(workers=3).most_workers) == (3, 3)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"workers_min": 1}, "set together"),
        ({"workers_max": 4}, "set together"),
        ({"workers_min": 5, "workers_max": 4}, "set together"),
        ({"workers_min": 1, "workers_max": 4, "workers": 2}, "set one of the two"),
    ],
)
def test_a_range_of_workers_makes_sense_or_is_refused(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Inference.model_validate(wrong)


def test_a_config_made_in_code_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEATTR_SERVER__PORT", "1234")
    assert Config().server.port == 5000


def test_a_built_in_pipeline_keeps_its_factory_when_its_own_keys_are_set() -> None:
    config = Config(pipelines={"faces": {"detector": "yunet"}})
    assert config.pipelines["faces"].path == "/analyze"
    assert config.pipelines["faces"].settings.model_dump()["detector"] == "yunet"


def test_a_pipeline_of_somebody_else_needs_its_factory() -> None:
    with pytest.raises(ValidationError, match="factory"):
        Config(pipelines={"mine": {"path": "/mine"}})


def test_the_file_that_ships_says_every_key_with_its_default() -> None:
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


def test_two_pipelines_cannot_have_one_path() -> None:
    entry = {"factory": "tests.support.pipelines:Trick", "path": "/analyze"}
    with pytest.raises(ValidationError, match="two pipelines have the same path"):
        Config.model_validate({"pipelines": {"trick": entry, "faces": {}}})


def test_a_factory_has_to_be_a_declaration() -> None:
    with pytest.raises(ValidationError, match="no pipeline declaration"):
        Config.model_validate({"pipelines": {"trick": {"factory": "os:path", "path": "/trick"}}})


def test_auto_is_what_the_program_makes_of_it() -> None:
    assert Config().with_auto_pool("process").inference.pool == "process"
    chosen = Config.model_validate({"inference": {"pool": "thread"}})
    assert chosen.with_auto_pool("process") is chosen


def test_the_spool_holds_at_least_one_request() -> None:
    with pytest.raises(ValidationError, match="max_spool_bytes must be at least max_bytes"):
        Config.model_validate({"upload": {"max_bytes": 1000, "max_spool_bytes": 999}})
