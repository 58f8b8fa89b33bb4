from pathlib import Path

import pytest

from faceattr_aio.errors import InternalError, StartError, UnreadableImage
from faceattr_aio.inference.worker import Worker
from faceattr_aio.pipeline import LoadSpec, Task
from tests.support.pipelines import TrickOptions, TrickSettings
from tests.support.workers import load_specs


def test_a_task_gives_a_result_and_the_time_of_each_stage(file: Path) -> None:
    reply = Worker(load_specs()).call("trick", Task(file, TrickOptions()))
    assert reply.result["bytes"] == 5
    assert reply.body is None
    assert list(reply.laps) == ["decode", "trick"]


def test_a_media_type_gives_the_encoded_body_as_well(file: Path) -> None:
    reply = Worker(load_specs()).call("trick", Task(file, TrickOptions(), "image/png"))
    assert reply.body == b"image/png 5 5"
    assert list(reply.laps) == ["decode", "trick", "encode"]


def test_a_worker_lists_the_models_it_has_loaded() -> None:
    assert Worker(load_specs()).models == {"trick": "0" * 64}


def test_a_failure_that_the_pipeline_declares_is_raised(file: Path) -> None:
    with pytest.raises(UnreadableImage):
        Worker(load_specs()).call("trick", Task(file, TrickOptions(do="refuse")))


def test_an_undeclared_exception_is_internal_and_only_the_log_has_its_text(file: Path) -> None:
    with pytest.raises(InternalError) as failed:
        Worker(load_specs()).call("trick", Task(file, TrickOptions(do="raise")))
    assert "secret" not in failed.value.detail
    assert "ZeroDivisionError: a secret" in failed.value.log


def test_a_pipeline_that_cannot_be_loaded_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"'gone' .* cannot be loaded"):
        Worker({"gone": LoadSpec("tests.support.pipelines:Nothing", TrickSettings(), {}, 1024)})
    with pytest.raises(StartError, match="repair it"):
        Worker(load_specs(broken_while=tmp_path))
