"""OpenVINO in the pipeline: memory limits of a worker, threads, and no telemetry."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import pytest

from faceattr_aio.errors import StartError
from faceattr_aio.inference.process import process_starter
from faceattr_aio.inference.worker import ProcessLimits
from faceattr_aio.pipeline import Clock, LoadSpec, Task
from faceattr_aio.pipelines.holistic import HolisticOptions
from faceattr_aio.pipelines.holistic.predict import HolisticPipeline
from faceattr_aio.pipelines.imaging import Pixels
from tests.support.process import PATIENCE_S, ROOT, environment

pytestmark = pytest.mark.pixels

LOADED = """
import json, sys
events = []
sys.addaudithook(lambda event, _: events.append(event) if event.partition(".")[0] in ("socket", "subprocess") else None)
from bench.holistic import load
load()
print(json.dumps({"events": events, "telemetry": "openvino_telemetry" in sys.modules}))
"""


def test_without_openvino_the_error_names_the_extra_to_install(
    load_spec: LoadSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(StartError, match=r"pip install 'faceattr-aio\[holistic\]'"):
        HolisticPipeline(load_spec)


def test_openvino_opens_no_connection_and_starts_no_process(tmp_path: Path) -> None:
    outside = {name: value for name, value in environment(HOME=str(tmp_path)).items() if name != "CI"}
    command = [sys.executable, "-c", LOADED]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=outside)
    assert json.loads(ran.stdout) == {"events": [], "telemetry": False}
    assert list(tmp_path.iterdir()) == []


def test_a_worker_process_allocates_its_memory_before_the_limit_is_set(load_spec: LoadSpec, png_file: Path) -> None:
    limits = ProcessLimits(nice=0, memory=16 << 20)
    worker = process_starter(lambda: {"holistic": load_spec}, ["faceattr_aio.pipelines.holistic.predict"], limits)()
    try:
        worker.ready()
        answers = [worker.call("holistic", Task(png_file, HolisticOptions()), PATIENCE_S).result for _ in range(3)]
    finally:
        worker.close()
    assert [len(answer["landmarks"]["face"]) for answer in answers] == [468] * 3


def test_two_workers_in_one_process_do_not_disturb_each_other(
    load_spec: LoadSpec, pipeline: HolisticPipeline, png_file: Path, astronaut: Pixels, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "mirrored.png"), astronaut[:, ::-1])
    files, pipelines = (png_file, tmp_path / "mirrored.png"), (pipeline, HolisticPipeline(load_spec))

    def repeat(pipeline: HolisticPipeline, file: Path) -> list[Any]:
        return [pipeline.predict(file, HolisticOptions(), Clock())["landmarks"] for _ in range(10)]

    expected = [pipeline.predict(file, HolisticOptions(), Clock())["landmarks"] for file in files]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(repeat, pipelines, files)) == [[one] * 10 for one in expected]
    assert expected[0] != expected[1]
