"""`faceattr-aio serve`: binds the sockets, serves the app, reloads settings on SIGHUP, and drains before it stops."""

import argparse
import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from ipaddress import ip_address
from multiprocessing.connection import Connection

import uvloop
from aiohttp import web

from faceattr_aio.cli.logs import set_up_log
from faceattr_aio.cli.settings import limit_decoder, load
from faceattr_aio.cli.supervisor import (
    ControlEvents,
    Supervisor,
    divide_config,
    events_from_pipe,
    events_from_signals,
    shared_metrics,
)
from faceattr_aio.config import Config, load_extra
from faceattr_aio.errors import ReloadFailed, StartError
from faceattr_aio.telemetry.setup import make_metrics_app
from faceattr_aio.web.app import ADMIN, EXECUTOR, drain, is_idle, make_app, retire
from faceattr_aio.web.reload import merge, reload

log = logging.getLogger(__name__)
reload_log = logging.getLogger("faceattr_aio.cli.reload")

_READ_BUFFER = 1 << 16
"""Bytes. With it, a connection with an unread body takes 235 KiB; with aiohttp's default of 256 KiB, 779 KiB."""
_PROBE_PERIOD_S = 0.5
"""Time between readiness going down and the port closing, for load balancers to notice."""
_POLL_S = 0.02
_BACKLOG = 1024


class LiveConfig:
    """The settings of a serving process, loaded at the start and on each reload.

    `config` holds the settings of all serving processes together; `number` is the number of this one.
    """

    def __init__(self, parsed: argparse.Namespace, number: int) -> None:
        self.config = load(parsed)
        self._parsed, self._number = parsed, number

    def own(self, config: Config | None = None) -> Config:
        """Return the settings of this process. Raises StartError when there are too few workers or slots to divide."""
        return divide_config(config or self.config, self._number)

    def load_changes(self) -> tuple[Config, list[str]]:
        """Return the settings after a reload, and the changed keys that need a restart. Raises StartError."""
        config, need_restart = merge(self.config, load(self._parsed))
        self.own(config)
        return config, need_restart


def run(parsed: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Raises StartError."""
    live = _set_up(parsed)
    server = live.own().server
    with ExitStack() as resources:
        ports = [port for port in (server.port, server.metrics_port) if port is not None]
        listeners = [resources.enter_context(_listen(server.host, port)) for port in ports]
        _warn_if_open(listeners[0].getsockname()[0], live.config)
        announce = partial(_announce, listeners[0])
        if server.processes == 1:
            uvloop.run(_serve(live, listeners, events_from_signals, announce))
        else:
            resources.enter_context(shared_metrics())
            serve = partial(_serve_as_one_of_several, parsed, listeners)
            asyncio.run(Supervisor(serve, server.processes, live.load_changes).run(announce))
    return 0


def _serve_as_one_of_several(
    parsed: argparse.Namespace, listeners: list[socket.socket], number: int, pipe: Connection
) -> None:
    """The main function of each process that the supervisor starts. It loads the settings itself."""
    try:
        live = _set_up(parsed, number)
        uvloop.run(_serve(live, listeners, partial(events_from_pipe, pipe), partial(pipe.send, None)))
    except StartError as error:
        with suppress(OSError):  # the supervisor stops because of another process
            pipe.send(error)


def _set_up(parsed: argparse.Namespace, number: int | None = None) -> LiveConfig:
    """Load the settings and apply those that concern the whole process. `number` is None for the first process."""
    live = LiveConfig(parsed, number or 0)
    set_up_log(live.config.logging, number)
    if live.config.logging.traces:
        load_extra("faceattr_aio.telemetry.tracing", "otel").set_up_tracing()
    limit_decoder(live.config.image.max_pixels)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # idle connections alone can use up the usual 1024
    return live


def _warn_if_open(address: str, config: Config) -> None:
    if not config.auth.required and not ip_address(address).is_loopback:
        log.warning(
            "any client that can reach %s can use this server: set auth.keys or auth.keys_file, or listen on 127.0.0.1",
            address,
        )


def _listen(host: str, port: int) -> socket.socket:
    """Raises StartError."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (socket.gaierror, UnicodeError) as error:
        raise StartError(f"The host {host} cannot be resolved: {error}.") from error
    except OSError as error:
        fault = f"cannot be opened: {error.strerror}"
        if error.errno == errno.EADDRINUSE:
            fault = "is in use: stop the other program or choose another port"
        raise StartError(f"Port {port} on {host} {fault}.") from error


def _announce(listener: socket.socket) -> None:
    host, port, *_ = listener.getsockname()
    print(f"faceattr-aio: serving on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)


async def _serve(
    live: LiveConfig, listeners: list[socket.socket], control: Callable[[], ControlEvents], announce: Callable[[], None]
) -> None:
    """Serve requests at the first listener, and metrics at the second if there is one, until a stop is requested."""
    events = control()
    config = live.own()
    app = make_app(config)
    app[ADMIN].is_only_process = config.server.processes == 1
    runners = [_runner(app, config), _runner(make_metrics_app(app), config)]
    try:
        for runner, listener in zip(runners, listeners, strict=False):
            await runner.setup()
            await web.SockSite(runner, listener).start()
        if events.stop.is_set():
            return
        announce()
        reloading = asyncio.create_task(_reload_on_request(app, live, events.reload))
        await events.stop.wait()
        reloading.cancel()
        await _drain(app, runners[0], live.own().server.drain_s)
    finally:
        for runner in runners:
            await runner.cleanup()


def _runner(app: web.Application, config: Config) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # the body of a refused request is read and discarded: never inflate a gzip bomb
        keepalive_timeout=config.server.keepalive_s,
        read_bufsize=_READ_BUFFER,
        shutdown_timeout=1.0,
    )


async def _reload_on_request(app: web.Application, live: LiveConfig, requested: asyncio.Event) -> None:
    """Reload whenever `requested` is set; requests during a reload cause one more. An error changes nothing."""
    while await requested.wait():
        requested.clear()
        try:
            config, need_restart = live.load_changes()
            await reload(app, live.own(config))
        except StartError as error:
            app[EXECUTOR].record_failed_reload(error)
        except ReloadFailed:  # `reload` has recorded it
            continue
        else:
            live.config = config
            reload_log.info("settings reloaded; a restart is needed for %s", ", ".join(need_restart) or "none of them")
            logging.getLogger().setLevel(config.logging.level.upper())


async def _drain(app: web.Application, runner: web.AppRunner, drain_s: float) -> None:
    """Take readiness down, wait for load balancers to notice, close the port, and finish accepted work in `drain_s`."""
    retire(app)
    try:
        async with asyncio.timeout(drain_s):
            await asyncio.sleep(min(_PROBE_PERIOD_S, drain_s / 2))
            drain(app)
            for site in runner.sites:
                await site.stop()
            while not is_idle(app):  # noqa: ASYNC110  # several endpoints count
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        log.warning("draining took more than %g s; the remaining work is cancelled", drain_s)
        await app[EXECUTOR].close()
