from pathlib import Path

import pytest

from faceattr_aio.errors import InternalError, StartError, UnreadableImage
from faceattr_aio.inference.worker import Worker
from faceattr_aio.pipeline import LoadSpec, Task
from tests.support.pipelines import TrickOptions, TrickSettings

MODULES = ("tests.support.pipelines",)


def plan(**settings: object) -> dict[str, LoadSpec]:
    return {
        "trick": LoadSpec("tests.support.pipelines:TrickPipeline", TrickSettings.model_validate(settings), {}, 1024)
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"12345")
    return tmp_path / "file"


def test_a_task_gives_a_result_and_the_time_of_each_stage(file: Path) -> None:
    reply = Worker(plan()).call("trick", Task(file, TrickOptions()))
    assert reply.result["bytes"] == 5
    assert reply.body is None
    assert list(reply.laps) == ["decode", "trick"]


def test_a_media_type_gives_the_encoded_body_as_well(file: Path) -> None:
    reply = Worker(plan()).call("trick", Task(file, TrickOptions(), "image/png"))
    assert reply.body == b"image/png 5 5"
    assert list(reply.laps) == ["decode", "trick", "encode"]


def test_a_worker_tells_the_models_it_has_loaded() -> None:
    assert Worker(plan()).models == {"trick": "0" * 64}


def test_a_failure_of_the_pipeline_passes(file: Path) -> None:
    with pytest.raises(UnreadableImage):
        Worker(plan()).call("trick", Task(file, TrickOptions(do="refuse")))


def test_a_fault_is_internal_and_only_the_log_knows_more(file: Path) -> None:
    with pytest.raises(InternalError) as failed:
        Worker(plan()).call("trick", Task(file, TrickOptions(do="raise")))
    assert "secret" not in failed.value.detail
    assert "ZeroDivisionError: a secret" in failed.value.log


def test_a_pipeline_that_cannot_be_loaded_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"'gone' .* cannot be loaded"):
        Worker({"gone": LoadSpec("tests.support.pipelines:Nothing", TrickSettings(), {}, 1024)})
    with pytest.raises(StartError, match="mend it"):
        Worker(plan(broken_while=tmp_path))
