"""The calculations of measurements on made-up figures, and short runs of measurements of a server."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from aiohttp import web

from bench.accuracy import __main__ as accuracy
from bench.accuracy import calibrate
from bench.speed import ceiling, chunks, plot, processes, scaling, uneven, upload
from bench.support import wire
from bench.support.face_grid import face_grid
from bench.support.labelled import PADDING, Estimates, Truth, read_labels, read_padded
from faceattr_aio.pipeline import Clock
from faceattr_aio.pipelines.faces import FaceOptions
from faceattr_aio.pipelines.faces.attributes import AGES
from tests.conftest import Serve

pytestmark = pytest.mark.pixels
TWO_CORES = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core for the server, one for the load")
ANSWER = b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nfull"


def made_up(faces: int = 400, spread: float = 5.0) -> Estimates:
    """Estimates with a normal error of `spread` years, each with probability 1."""
    random = np.random.default_rng(1)
    estimated = random.integers(10, 60, faces)
    true = (estimated + random.normal(0, spread, faces)).clip(0, 80)
    truths = [Truth(Path(), float(age), "female") for age in true]
    ages = np.array([(AGES.round() == years) * 1.0 for years in estimated])
    return Estimates(truths, ages, np.full(faces, 0.9))


def test_reads_labels_and_counts_ages_over_80_as_80(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,age,gender\na.jpg,7,male\nb.jpg,99,female\n")
    assert read_labels(tmp_path) == [Truth(tmp_path / "a.jpg", 7, "male"), Truth(tmp_path / "b.jpg", 80, "female")]


def test_faces_are_padded_by_their_border(png_file: Path) -> None:
    padded = read_padded(png_file)
    assert padded.shape == (512 + 2 * PADDING, 512 + 2 * PADDING, 3)
    assert np.array_equal(padded[0, PADDING:-PADDING], padded[PADDING, PADDING:-PADDING])


def test_computes_the_known_errors() -> None:
    estimates = made_up()
    assert accuracy.mean_error(estimates) == pytest.approx(5 * np.sqrt(2 / np.pi), rel=0.15)
    assert accuracy.gender_right(estimates) == 1.0


def test_fitted_intervals_contain_four_in_five_ages_of_other_faces() -> None:
    held, width = accuracy.intervals(made_up())
    assert held == pytest.approx(0.8, abs=0.06)
    assert width == pytest.approx(2 * 1.28 * 5, rel=0.15)


def test_the_file_names_the_source_of_its_numbers() -> None:
    text = calibrate.as_toml(calibrate.fit(made_up()), 400, "a set")
    assert "400 labelled faces of a set" in text
    assert "python -m bench.calibrate" in text


def test_the_report_names_every_figure() -> None:
    estimates = made_up(200)
    text = "\n".join(accuracy.report(estimates.truths, estimates))
    for figure in ("found", "mean absolute age error", "gender correct", "within interval", "bracket correct", "60-80"):
        assert figure in text


@TWO_CORES
def test_large_uploads_are_stored_and_never_whole_in_memory() -> None:
    measured = upload.measure_all(1, 0.05, (0.07, 10.0))
    assert len(measured) == 2 * len(upload.FORMS) * len(upload.FOLDERS)
    for (megabytes, _, _), (one,) in measured.items():
        assert one.mb_s > 0
        assert one.held_mb < max(10, megabytes * upload.CLIENTS)
    assert len(list(upload.report(measured))) == 2 + 2 * len(upload.FORMS)


@pytest.mark.parametrize("form", upload.FORMS)
def test_an_uploaded_picture_has_the_given_size(form: Callable[[bytes], upload.Body]) -> None:
    picture = upload.picture_of(0.5)
    body = form(picture)
    assert len(picture) == 500_000
    assert picture in (body.content if isinstance(body.content, bytes) else b"".join(body.content))


async def test_larger_writes_take_less_time() -> None:
    measured = await chunks.measure_all(1, 0.01, (8, 1024))
    folder = upload.FOLDERS[0]
    assert measured[8, 10.0, folder] > [2 * ms for ms in measured[1024, 10.0, folder]]
    assert len(list(chunks.report(measured))) == 4


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_an_answer_ends_with_its_last_byte(size: int) -> None:
    connection = wire.Connection(b"")
    connection.connection_made(Mock(asyncio.Transport, is_closing=lambda: False))
    for _ in range(2):
        asked = asyncio.create_task(connection.ask())
        for start in range(0, len(ANSWER), size):
            await asyncio.sleep(0)
            assert not asked.done()
            connection.data_received(ANSWER[start : start + size])
        assert await asked == "503"


async def test_a_closed_connection_is_reported_as_lost(serve: Serve) -> None:
    answered = iter([True, False])

    async def answer(request: web.Request) -> web.Response:
        if not next(answered):
            assert request.transport
            request.transport.abort()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", answer)
    async with wire.connections(await serve(app), wire.upload("/", b"", "image/png"), 1) as (connection,):
        assert [await connection.ask(), await connection.ask()] == [wire.LOST, wire.LOST]


async def test_a_refused_client_waits_before_it_retries(serve: Serve) -> None:
    statuses = iter([200, 503, 503])

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=next(statuses))

    app = web.Application()
    app.router.add_post("/", answer)
    async with wire.connections(await serve(app), wire.upload("/", b"", "image/png"), 1) as opened:
        assert await wire.saturate(opened, 0.05, 0.1) == {"503": 1}


async def test_counts_connections_after_earlier_ones_are_closed() -> None:
    server = Mock(spread=Mock(side_effect=[[9, 3], [1, 2], [5, 3]]))
    assert await processes.fullest(server, [1, 2], 5) == 4


@TWO_CORES
async def test_counts_two_serving_processes() -> None:
    with processes.started(f"{processes.SETTINGS}pool = 'process'\n[server]\nprocesses = 2\n") as server:
        assert len(server.serving()) == 2
        one = await processes.measure(server, server.spread(), 6, 0.3)
    assert one.rate > 0
    assert 3 <= one.most <= 6
    assert one.serving_ms > one.load_ms
    point = [one] * len(processes.CONNECTIONS)
    *_, row = processes.report({("process", 2, 2): [point, point]})
    assert row.startswith(f"| process | 2 | 2 | {', '.join([f'{one.rate:.0f}'] * 3)} |")


async def test_a_process_refuses_requests_beyond_its_share_of_the_slots() -> None:
    with processes.started(f"{uneven.SETTINGS}[server]\nprocesses = 2\n") as server:
        idle = server.spread()
        draws = [await uneven.draw(server, idle, uneven.LIMIT, 0.3) for _ in range(3)]
    for one in draws:
        assert (one.refused > 0) == (one.most > uneven.LIMIT / 2)
    assert len(list(uneven.report({(uneven.LIMIT, 2): draws}))) == 3


def test_a_face_grid_has_the_given_number_of_faces(tmp_path: Path) -> None:
    pipeline, file = ceiling.load(), tmp_path / "faces.jpg"
    for faces in scaling.FACES:
        file.write_bytes(face_grid(faces))
        assert len(pipeline.predict(file, FaceOptions(), Clock())["faces"]) == faces
        assert file.stat().st_size == pytest.approx(len(face_grid(0)), rel=0.05)


@TWO_CORES
async def test_measures_scaling_behind_http_and_alone() -> None:
    point = next(point for point in scaling.points() if point.panel == "faces" and point.value == 2)
    measured = await scaling.measure_all([point], 1, 0.1)
    ((row,),) = scaling.summary(measured).values()
    assert row["value"] == 2
    assert row["share"] == pytest.approx(row["goodput"] / row["ceiling"])
    assert len(list(scaling.report({"faces": [row]}))) == 3


def test_a_second_measurement_replaces_its_own_panel_only(tmp_path: Path) -> None:
    file = tmp_path / "plots" / "scaling.json"
    scaling.write(file, {"faces": [{"value": 1.0}], "workers": [{"value": 2.0}]})
    scaling.write(file, {"faces": [{"value": 3.0}]})
    assert json.loads(file.read_text())["panels"] == {"faces": [{"value": 3.0}], "workers": [{"value": 2.0}]}


def test_the_figure_has_four_panels_that_start_at_zero(tmp_path: Path) -> None:
    panels = {
        name: [{"value": value, "goodput": 50 / value, "ceiling": 60 / value} for value in (1.0, 2.0, 3.0, 4.0)]
        for name in ("megapixels", "faces", "workers", "processes")
    }
    document = {"cores": 2, "panels": panels}
    assert [axes.get_ylim()[0] for axes in plot.draw(document).axes] == [0] * 4
    file = tmp_path / "scaling.json"
    file.write_text(json.dumps(document))
    assert plot.main([str(file), "--output", str(tmp_path / "plots" / "scaling.png")]) == 0
    picture = cv2.imread(str(tmp_path / "plots" / "scaling.png"))
    assert picture is not None
    assert picture.shape[1] >= 800
