from collections.abc import Mapping

import pytest

from faceattr_aio.config.schema import Config
from faceattr_aio.errors import StartError
from faceattr_aio.inference.loader import starter
from faceattr_aio.inference.models import ModelStore
from faceattr_aio.pipeline import LoadSpec, ModelFile
from tests.support.pipelines import TrickSettings


def test_a_type_with_a_blind_header_needs_workers_of_bounded_memory() -> None:
    """In threads a small file would be decoded in the memory of the whole program."""
    image = {"image": {"formats": ["jpeg", "avif"]}}
    for pool in ("thread", "auto"):
        with pytest.raises(StartError, match=r"avif.*inference\.pool"):
            starter(Config.model_validate({"inference": {"pool": pool}, **image}))
    starter(Config.model_validate({"inference": {"pool": "process"}, **image}))


def test_every_start_verifies_the_files_it_will_load(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = list[str]()
    real = ModelStore.verify

    def verify(store: ModelStore, name: str) -> ModelFile:
        verified.append(name)
        return real(store, name)

    monkeypatch.setattr(ModelStore, "verify", verify)
    start = starter(Config.model_validate({"inference": {"pool": "thread"}, "models": {"dir": str(store.folder)}}))
    assert verified == []
    for _ in range(2):
        start().close()
    assert sorted(verified) == ["blazeface-full-range"] * 2 + ["dlib-age-v1"] * 2 + ["dlib-gender-v1"] * 2


def test_the_settings_decide_what_a_worker_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = list[Mapping[str, LoadSpec]]()
    monkeypatch.setattr("faceattr_aio.inference.loader.thread_starter", lambda make: specs.append(make()))
    entry = {"factory": "tests.support.pipelines:Trick", "path": "/trick", "sleep_s": 0.5}
    starter(Config.model_validate({"image": {"working_side": 99}, "pipelines": {"trick": entry}}))
    (spec,) = specs[0].values()
    assert (spec.load, spec.working_side, spec.own_process) == ("tests.support.pipelines:TrickPipeline", 99, False)
    assert spec.settings == TrickSettings(sleep_s=0.5)
