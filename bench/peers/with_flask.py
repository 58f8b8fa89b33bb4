"""Flask as tutorials recommend for slow work: a bounded queue before one thread with the model, a future for each
request, and 503 when the queue is full; waitress in front, with enough threads to answer 503.

python -m bench.peers.with_flask PORT
"""

import sys
from concurrent.futures import Future
from queue import Full, Queue
from threading import Thread

import waitress
from flask import Flask, request

from bench.peers.limits import TIMEOUT_S, WAITING
from bench.peers.model import Model

SPARE_THREADS = 8
app = Flask(__name__)
waiting: Queue[tuple[bytes, Future]] = Queue(maxsize=WAITING)


def work(model: Model) -> None:
    while True:
        picture, future = waiting.get()
        try:
            future.set_result(model.analyze_bytes(picture))
        except Exception as error:  # noqa: BLE001  # passed on to the request
            future.set_exception(error)


@app.post("/analyze")
def analyze():  # noqa: ANN201  # Flask has a wide type for it
    future = Future()
    try:
        waiting.put_nowait((request.files["image"].read(), future))
    except Full:
        return {"error": "busy"}, 503
    return future.result(timeout=TIMEOUT_S)


if __name__ == "__main__":
    Thread(target=work, args=[Model()], daemon=True).start()
    waitress.serve(app, host="127.0.0.1", port=int(sys.argv[1]), threads=WAITING + 1 + SPARE_THREADS)
