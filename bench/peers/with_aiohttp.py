"""Plain aiohttp on uvloop: the raw body is read into memory, and the loop's default executor does the work, with one
thread because the model is not thread-safe. The queue is unbounded.

python -m bench.peers.with_aiohttp PORT
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import uvloop
from aiohttp import web

from bench.peers.model import Model

MODEL = web.AppKey("model", Model)


async def load(app: web.Application) -> AsyncIterator[None]:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    app[MODEL] = Model()
    yield


async def analyze(request: web.Request) -> web.Response:
    picture = await request.read()
    loop = asyncio.get_running_loop()
    return web.json_response(await loop.run_in_executor(None, request.app[MODEL].analyze_bytes, picture))


def main() -> None:
    app = web.Application(client_max_size=20 << 20)
    app.router.add_post("/analyze", analyze)
    app.cleanup_ctx.append(load)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()
