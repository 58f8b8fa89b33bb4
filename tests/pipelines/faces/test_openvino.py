"""OpenVINO in the pipeline: the same results as OpenCV, memory limits of a worker, one thread, and no telemetry."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import cv2
import pytest

from bench.support.labelled import Truth, read_labels, read_padded
from faceattr_aio.errors import StartError
from faceattr_aio.inference.models import ModelStore
from faceattr_aio.inference.process import process_starter
from faceattr_aio.inference.worker import ProcessLimits, Worker
from faceattr_aio.pipeline import Clock, LoadSpec, ModelFile, Task
from faceattr_aio.pipelines import Backend
from faceattr_aio.pipelines.faces import FaceAttributes, FaceOptions, FaceSettings
from faceattr_aio.pipelines.faces.predict import FacePipeline
from faceattr_aio.pipelines.imaging import Pixels
from tests.pipelines.faces.conftest import LoadFaces, overlap
from tests.support.process import PATIENCE_S, ROOT, environment

pytestmark = pytest.mark.pixels

BACKENDS = get_args(Backend)

LOADED = """
import json, os, sys
from pathlib import Path
events = []
sys.addaudithook(lambda event, _: events.append(event) if event.partition(".")[0] in ("socket", "subprocess") else None)
from bench.speed.ceiling import PICTURE, load
from faceattr_aio.faces import FaceOptions
from faceattr_aio.pipeline import Clock
def ticks():
    stats = {task.name: (task / "stat").read_text().rpartition(")")[2].split() for task in tasks.iterdir()}
    return {name: int(fields[11]) + int(fields[12]) for name, fields in stats.items()}
tasks = Path("/proc/self/task")
pipeline = load("openvino")
before = ticks()
for _ in range(150):
    pipeline.predict(PICTURE, FaceOptions(), Clock())
busy = {name: spent - before.get(name, 0) for name, spent in ticks().items()}
print(json.dumps({"events": events, "main": busy.pop(str(os.getpid())), "others": sum(busy.values()),
    "new": len(busy) + 1 - len(before), "telemetry": "openvino_telemetry" in sys.modules}))
"""
"""Loads the pipeline, predicts, and prints what the process did."""


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return True if two results agree within the accuracy of the backends."""
    return (
        one["models"] == other["models"]
        and len(one["faces"]) == len(other["faces"])
        and all(
            overlap(face["box"], same["box"]) > 0.95
            and abs(face["age"]["years"] - same["age"]["years"]) <= 0.5
            and abs(face["gender"]["probability"] - same["gender"]["probability"]) <= 0.02
            for face, same in zip(one["faces"], other["faces"], strict=True)
        )
    )


@pytest.mark.parametrize("detail", ["normal", "high"])
def test_both_backends_agree_on_the_astronaut(detail: str, load_faces: LoadFaces, png_file: Path) -> None:
    options = FaceOptions.model_validate({"detail": detail})
    one, other = (load_faces(backend=backend).predict(png_file, options, Clock()) for backend in BACKENDS)
    assert len(one["faces"]) == 1
    assert alike(one, other)


@pytest.fixture(scope="module")
def truths(data_folder: Path | None) -> list[Truth]:
    if data_folder is None:
        pytest.skip("labelled faces: FACEATTR_TEST_DATA is not set")
    return read_labels(data_folder / "faces")


def test_both_backends_agree_on_labelled_faces(truths: list[Truth], load_faces: LoadFaces, tmp_path: Path) -> None:
    one, other = (load_faces(backend=backend) for backend in BACKENDS)
    found = 0
    for truth in truths:
        file = tmp_path / "padded.png"
        cv2.imwrite(str(file), read_padded(truth.file))
        answer = one.predict(file, FaceOptions(), Clock())
        found += len(answer["faces"])
        assert alike(answer, other.predict(file, FaceOptions(), Clock())), truth.file.name
    assert found >= 235


def test_faces_found_by_yunet_are_classified_by_openvino(load_faces: LoadFaces, png_file: Path) -> None:
    one, other = (
        load_faces("yunet", backend=backend).predict(png_file, FaceOptions(), Clock()) for backend in BACKENDS
    )
    assert len(one["faces"]) == 1
    assert alike(one, other)


@pytest.fixture(scope="module")
def load_specs(store: ModelStore) -> dict[str, LoadSpec]:
    settings = FaceSettings(backend="openvino")
    files = {name: store.verify(name) for name in FaceAttributes.models(settings)}
    return {"faces": LoadSpec(FaceAttributes.load, settings, files, 1024, own_process=True)}


def test_a_worker_process_allocates_its_memory_before_the_limit_is_set(
    load_specs: dict[str, LoadSpec], png_file: Path
) -> None:
    limits = ProcessLimits(nice=0, memory=16 << 20)
    worker = process_starter(lambda: load_specs, ["faceattr_aio.pipelines.faces.predict"], limits)()
    try:
        worker.ready()
        answers = [worker.call("faces", Task(png_file, FaceOptions()), PATIENCE_S).result for _ in range(5)]
    finally:
        worker.close()
    assert [len(answer["faces"]) for answer in answers] == [1] * 5


def test_two_workers_in_one_process_do_not_disturb_each_other(
    load_faces: LoadFaces, png_file: Path, astronaut: Pixels, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "mirrored.png"), astronaut[:, ::-1])
    files = png_file, tmp_path / "mirrored.png"
    pipelines = [load_faces(backend="openvino") for _ in files]

    def repeat(pipeline: FacePipeline, file: Path) -> list[Any]:
        return [pipeline.predict(file, FaceOptions(), Clock()) for _ in range(50)]

    expected = [repeat(pipelines[0], file)[0] for file in files]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(repeat, pipelines, files))
    assert answers == [[one] * 50 for one in expected]
    assert expected[0]["faces"] != expected[1]["faces"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the output of LOADED, and the files it created in the user's home."""
    home = tmp_path_factory.mktemp("home")
    outside = {name: value for name, value in environment(HOME=str(home)).items() if name != "CI"}
    ran = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, cwd=ROOT, env=outside
    )
    report: dict[str, Any] = json.loads(ran.stdout)
    return report | {"home": [path.name for path in home.iterdir()]}


def test_openvino_opens_no_connection_and_starts_no_process(loaded: dict[str, Any]) -> None:
    assert (loaded["events"], loaded["telemetry"], loaded["home"]) == ([], False, [])


def test_the_calling_thread_does_the_work(loaded: dict[str, Any]) -> None:
    assert loaded["main"] > 0
    assert loaded["others"] <= loaded["main"] / 40
    assert loaded["new"] == 0


def test_without_openvino_the_error_names_the_extra_to_install(
    load_specs: dict[str, LoadSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(StartError, match=r"pip install 'faceattr-aio\[openvino\]'"):
        FacePipeline(load_specs["faces"])


def test_a_file_that_is_no_network_stops_the_start(load_specs: dict[str, LoadSpec], tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"nothing")
    files = dict.fromkeys(load_specs["faces"].files, ModelFile(tmp_path / "net.tflite", ""))
    with pytest.raises(StartError, match="cannot be loaded"):
        Worker({"faces": replace(load_specs["faces"], files=files)})
