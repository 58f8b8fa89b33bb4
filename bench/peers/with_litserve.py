"""LitServe: a LitAPI with one worker process on the CPU. Its queue is unbounded; it has a time-out only.

python -m bench.peers.with_litserve PORT
"""

import sys
from typing import Any

import litserve
from fastapi import Request

from bench.peers.limits import TIMEOUT_S
from bench.peers.model import Model


class Faces(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002  # there is one device
        self.model = Model()

    def decode_request(self, request: Request) -> bytes:
        # The annotation makes LitServe read the form and pass its fields.
        return request["image"].file.read()

    def predict(self, x: bytes) -> dict[str, Any]:
        return self.model.analyze_bytes(x)


if __name__ == "__main__":
    server = litserve.LitServer(
        Faces(api_path="/analyze"), accelerator="cpu", devices=1, workers_per_device=1, timeout=TIMEOUT_S
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
