"""FastAPI with a plain `def` endpoint, which runs in its thread pool, here with one thread. The model is loaded in the
lifespan. uvicorn, on uvloop and httptools, answers 503 over `limit_concurrency`.

python -m bench.peers.with_fastapi PORT
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request, UploadFile

from bench.peers.limits import WAITING
from bench.peers.model import Model


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    current_default_thread_limiter().total_tokens = 1
    app.state.model = Model()
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/analyze")
def analyze(image: UploadFile, request: Request) -> dict[str, Any]:
    return request.app.state.model.analyze_bytes(image.file.read())


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        limit_concurrency=WAITING + 2,  # one is processed, and uvicorn refuses the request that reaches the limit
    )
