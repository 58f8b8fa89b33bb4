"""A program of a user that contains every public name. Type checkers read it in an environment with the wheel; it is
never run.
"""

from pathlib import Path
from typing import Any, assert_type

from aiohttp import web

import faceattr_aio
from faceattr_aio import (
    Config,
    Executor,
    FaceattrError,
    Reply,
    StartError,
    Task,
    drain,
    get_executor,
    load_config,
    make_app,
    reload,
    retire,
    setup,
)
from faceattr_aio.client import Client
from faceattr_aio.errors import RetryableError
from faceattr_aio.faces import FaceOptions
from faceattr_aio.imaging import Pixels, read
from faceattr_aio.pipeline import JSON, Clock, Declaration, LoadSpec, Options, Pipeline, PipelineSettings
from faceattr_aio.schemas import Answer, Face


class SizeOptions(Options):
    least: int = 1


class SizePipeline:
    def __init__(self, plan: LoadSpec) -> None:
        self.models: dict[str, str] = {}
        self.side: int = plan.working_side

    def predict(self, path: Path, options: SizeOptions, clock: Clock) -> int:
        pixels: Pixels = read(path, self.side).pixels
        clock.lap("read")
        return max(options.least, pixels.size)

    def encode(self, result: int, media_type: str, path: Path) -> bytes:
        return f"{path} {media_type} {result}".encode()

    def close(self) -> None:
        pass


Size = Declaration("size:SizePipeline", SizeOptions, PipelineSettings, lambda _: (), (JSON,))


def make(plan: LoadSpec) -> Pipeline[int]:
    return SizePipeline(plan)


async def count(request: web.Request) -> web.Response:
    executor = get_executor(request)
    assert_type(executor, Executor)
    try:
        reply = await executor.run("faces", Task(Path("picture.jpg"), FaceOptions(max_faces=1), "image/png"))
    except RetryableError as error:
        return web.Response(status=error.status, headers={"Retry-After": str(round(error.retry_after_s))})
    except FaceattrError as error:
        return web.Response(status=error.status, text=error.detail)
    assert_type(reply, Reply)
    assert_type(reply.body, bytes | None)
    return web.json_response(reply.result)


async def ask(url: str) -> list[Face]:
    async with Client(url, key="k", deadline_s=1.0) as client:
        assert_type(await client.annotate(b"picture", "image/png"), bytes)
        assert_type(await client.ask([b"picture"]), dict[str, Any])
        assert_type(await client.analyze_batch([Path("one.jpg"), b"two"]), list[Answer | FaceattrError])
        answer = await client.analyze(Path("picture.jpg"), max_faces=1)
    assert_type(answer, Answer)
    return [face for face in answer.faces if face.age and face.gender and face.age.years > face.gender.probability]


async def change(app: web.Application) -> None:
    config, origins = load_config({"inference": {"limit": 4}}, Path("faceattr.toml"))
    assert_type(config, Config)
    for key, origin in origins.items():
        assert_type(key + origin, str)
    assert config.inference.limit_count > config.inference.worker_count
    await reload(app, config)
    retire(app)
    drain(app)


def main() -> web.Application:
    app = web.Application()
    try:
        assert_type(setup(app, Config.model_validate({"inference": {"limit": 4}})), Executor)
        app.add_subapp("/vision", make_app(Config()))
    except StartError as error:
        raise SystemExit(str(error)) from error
    app.router.add_get("/count", count)
    assert faceattr_aio.__all__
    return app
