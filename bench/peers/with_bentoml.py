"""BentoML: a service of one worker with one thread; requests over `max_concurrency` are answered with 429.

bentoml serve bench.peers.with_bentoml:Faces --port PORT
"""

from pathlib import Path
from typing import Any

import bentoml

from bench.peers.limits import TIMEOUT_S, WAITING
from bench.peers.model import Model


@bentoml.service(
    workers=1,
    traffic={"timeout": TIMEOUT_S, "max_concurrency": WAITING + 1},
    logging={"access": {"enabled": False}},
)
class Faces:
    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(route="/analyze")
    def analyze(self, image: Path) -> dict[str, Any]:
        return self.model.analyze(image)
