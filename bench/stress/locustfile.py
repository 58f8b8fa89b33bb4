"""The users, in Locust: each chooses a request and a picture, sends it, checks the answer, honours `Retry-After` or
gives up, thinks, and starts again. Results are written to `--result`; the course determines the number of users.

    locust -f bench/stress/locustfile.py --host http://127.0.0.1:5000 --preset faceattr --pictures FOLDER

The web page is on http://127.0.0.1:8089 unless --headless is given; --master and --worker spread the load over
machines. Exit status 3: the run ended early, because most requests failed.
"""

import random
import socket
import struct
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import gevent
from locust import FastHttpUser, LoadTestShape, events
from locust.env import Environment
from locust.runners import WorkerRunner

from bench.stress.answers import Answer, judge, no_answer
from bench.stress.load import Load, add_options
from bench.stress.pictures import NO_PICTURE, draw
from bench.stress.templates import Request, Template

FAILED = 3
CUT = "closed by the test"
DEFAULT_WAIT_S = 1.0
"""Seconds that a client waits after a refusal without Retry-After."""
TRIES = 10


class Client(FastHttpUser):
    """A user. `load` is set before the first one is created."""

    load: Load

    def on_start(self) -> None:
        self.due = time.monotonic()
        if pace := self.load.pace_s():  # users must not start at the same moment
            self.due += random.uniform(0, pace)
            gevent.sleep(max(0.0, self.due - time.monotonic()))

    def wait_time(self) -> float:
        pace = self.load.pace_s()
        if pace is None:
            return random.uniform(*self.load.think_s)
        now = time.monotonic()
        self.due = max(self.due + pace, now)
        return self.due - now

    def ask(self, template: Template) -> None:
        """Send the request; after a refusal retry if --honour is given."""
        load, began = self.load, time.perf_counter()
        picture = draw(load.pictures) if load.pictures else NO_PICTURE
        for _ in range(TRIES if load.options.honour else 1):
            sent = time.perf_counter()
            answer = self._send(template, template.fill(picture.data, load.picture_url))
            load.record(answer, time.perf_counter() - sent, picture.name)
            if answer.kind != "refused":
                break
            if load.options.honour:
                gevent.sleep((DEFAULT_WAIT_S if answer.wait_s is None else answer.wait_s) + random.uniform(0, 1))
        if answer.kind == "accepted":
            load.record_answered(time.perf_counter() - began)

    def _send(self, template: Template, request: Request) -> Answer:
        if request.sent < 1:
            return self._cut(request)
        with self.client.request(
            request.method,
            request.path,
            name=request.name,
            data=request.body,  # type: ignore[arg-type]  # bytes are accepted
            headers=dict(request.headers),
            catch_response=True,
        ) as response:
            answer = _answer(template, response)
            response.request_meta["name"] = f"{request.name}: {answer.kind}"
            if answer.kind == "failed":
                response.failure(answer.outcome)
            else:
                response.success()
        return answer

    def _cut(self, request: Request) -> Answer:
        """Send a part of the request, and reset the connection."""
        server, began = urlsplit(self.host or ""), time.perf_counter()
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        length = f"Content-Length: {len(request.body)}\r\n"
        start = f"{request.method} {request.path} HTTP/1.1\r\nHost: {server.netloc}\r\n{head}{length}\r\n".encode()
        answer = Answer("rejected", CUT)
        try:
            with socket.create_connection((server.hostname or "", server.port or 80), self.network_timeout) as wire:
                wire.sendall(start + request.body[: round(len(request.body) * request.sent)])
                wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError as error:
            answer = no_answer(error)
        self.environment.events.request.fire(
            request_type=request.method,
            name=f"{request.name}: {answer.kind}",
            response_time=(time.perf_counter() - began) * 1e3,
            response_length=0,
            exception=None if answer.kind == "rejected" else OSError(answer.outcome),
            context={},
        )
        return answer


def _answer(template: Template, response: Any) -> Answer:
    """Classify a response of Locust, which may represent an error."""
    fault = response.request_meta["exception"]
    if fault is not None and not hasattr(fault, "code"):  # judge() checks the status
        return no_answer(fault)
    return judge(template, response.status_code, response.headers or {}, response.content or b"")


class Shape(LoadTestShape):
    """Follows the course."""

    load: Load

    def tick(self) -> tuple[int, float] | None:
        index = self.load.course.index(self.get_run_time())  # type: ignore[no-untyped-call]  # Locust has no type hints
        return None if index is None else (self.load.course.levels[index].users, self.load.options.spawn)


events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]  # as above


@events.init.add_listener  # type: ignore[untyped-decorator]  # as above
def _set_up(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    load = Load(options)
    Client.load = Shape.load = load
    Client.network_timeout = Client.connection_timeout = options.patience
    Client.tasks = [_task(template) for template in load.preset.requests for _ in range(template.weight)]
    if not load.course.levels:
        environment.shape_class = None
    listen: Any = environment.events  # Locust has no type hints for it
    listen.test_start.add_listener(lambda **_: load.start())
    listen.test_stop.add_listener(lambda **_: load.end())
    listen.report_to_master.add_listener(lambda data, **_: load.report(data))
    listen.worker_report.add_listener(lambda data, **_: load.merge(data))
    if not options.keep_going:
        gevent.spawn(_watch, environment, load)
    if not isinstance(environment.runner, WorkerRunner):
        listen.quitting.add_listener(lambda **_: load.write())


def _task(template: Template) -> Callable[[Client], None]:
    def ask(user: Client) -> None:
        user.ask(template)

    return ask


def _watch(environment: Environment, load: Load) -> None:
    """End the run when most requests fail; a worker leaves that to its master."""
    while True:
        gevent.sleep(1)
        if load.has_collapsed() and environment.runner and not isinstance(environment.runner, WorkerRunner):
            environment.process_exit_code = FAILED
            environment.runner.quit()
            return
