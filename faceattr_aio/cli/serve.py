"""`faceattr-aio serve`: a process of its own around the app. Binds, serves, and on a signal drains before it stops."""

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
from typing import NamedTuple

import uvloop
from aiohttp import web

from faceattr_aio.cli import flags
from faceattr_aio.cli.logs import set_up_log
from faceattr_aio.cli.opencv_env import bound_pixels
from faceattr_aio.cli.reload import Settings, reload_when_asked
from faceattr_aio.cli.sharing import forget_process, sharing_metrics
from faceattr_aio.cli.signals import Asked, by_pipe, by_signal
from faceattr_aio.cli.supervisor import Supervisor
from faceattr_aio.config import extras
from faceattr_aio.config.load import load_config
from faceattr_aio.config.schema import Config, Server
from faceattr_aio.errors import StartError
from faceattr_aio.telemetry.setup import make_metrics_app
from faceattr_aio.web.app import ADMIN, EXECUTOR, drain, is_idle, make_app, retire

log = logging.getLogger(__name__)

_READ_BUFFER = 1 << 16
"""Bytes; 200 connections whose bodies nobody reads take 235 KiB each with it, 779 with aiohttp's 256 KiB."""
_PROBE_PERIOD_S = 0.5
"""How long a balancer may take to see that we are not ready, before the port closes."""
_POLL_S = 0.02
_BACKLOG = 1024


class Listeners(NamedTuple):
    """Where requests come in, and where metrics are asked for if that is elsewhere."""

    requests: socket.socket
    metrics: socket.socket | None


def run(parsed: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT. Raises StartError."""
    config = _set_up(parsed)
    with ExitStack() as opened:
        listeners = _open(config.server, opened)
        _warn_if_open(listeners.requests.getsockname()[0], config)
        announce = partial(_announce, listeners.requests)
        if config.server.processes == 1:
            uvloop.run(_serve(Settings(config, partial(_read, parsed)), listeners, by_signal, announce))
        else:
            settings = Settings(config, partial(_read, parsed), 0)
            settings.own()  # refuses what cannot be shared, before anything is started
            opened.enter_context(sharing_metrics())
            member = partial(_run_member, parsed, listeners)
            fleet = Supervisor(member, config.server.processes, settings.read_again, forget_process)
            asyncio.run(fleet.run(announce))
    return 0


def _run_member(parsed: argparse.Namespace, listeners: Listeners, number: int, pipe: Connection) -> None:
    """One process of several. It reads the settings anew."""
    try:
        settings = Settings(_set_up(parsed, number), partial(_read, parsed), number)
        uvloop.run(_serve(settings, listeners, partial(by_pipe, pipe), partial(pipe.send, None)))
    except StartError as error:
        with suppress(OSError):  # another one has said it already
            pipe.send(error)


def _set_up(parsed: argparse.Namespace, number: int | None = None) -> Config:
    """The settings, and what holds for the whole process, which is the one with this number of several."""
    config = _read(parsed)
    set_up_log(config.logging, number)
    if config.logging.traces:
        extras.load("faceattr_aio.cli.tracing", "otel").set_up_tracing()
    bound_pixels(config)
    _allow_descriptors()
    return config


def _read(parsed: argparse.Namespace) -> Config:
    config, _ = load_config(flags(parsed), parsed.config)
    return config.with_auto_pool("process")


def _allow_descriptors() -> None:
    """As many as the system lets us have: the usual 1024 are soon taken by idle connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _warn_if_open(address: str, config: Config) -> None:
    if not config.auth.required and not ip_address(address).is_loopback:
        log.warning(
            "everybody who can reach %s may use this server: set auth.keys or auth.keys_file, or let it listen on "
            "127.0.0.1",
            address,
        )


def _open(server: Server, opened: ExitStack) -> Listeners:
    """Raises StartError."""
    requests = opened.enter_context(_listen(server.host, server.port))
    if server.metrics_port is None:
        return Listeners(requests, None)
    return Listeners(requests, opened.enter_context(_listen(server.host, server.metrics_port)))


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (socket.gaierror, UnicodeError) as error:
        raise StartError(f"The host {host} is not known: {error}.") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"Port {port} on {host} is in use: end what listens there, or choose another.") from error
        raise StartError(f"Port {port} on {host} cannot be opened: {error.strerror}.") from error


def _announce(listener: socket.socket) -> None:
    host, port, *_ = listener.getsockname()
    print(f"faceattr-aio: serving on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)


async def _serve(
    settings: Settings, listeners: Listeners, listen: Callable[[], Asked], announce: Callable[[], None]
) -> None:
    asked = listen()
    config = settings.own()
    app = make_app(config)
    app[ADMIN].is_only_process = config.server.processes == 1
    runner, metrics = _runner(app, config), _runner(make_metrics_app(app), config)
    try:
        await runner.setup()
        site = web.SockSite(runner, listeners.requests)
        await site.start()
        if listeners.metrics:
            await metrics.setup()
            await web.SockSite(metrics, listeners.metrics).start()
        if asked.stop.is_set():
            return
        announce()
        reloading = asyncio.create_task(reload_when_asked(app, settings, asked.reload))
        await asked.stop.wait()
        reloading.cancel()
        await _drain(app, site, settings.own().server.drain_s)
    finally:
        await runner.cleanup()
        await metrics.cleanup()


def _runner(app: web.Application, config: Config) -> web.AppRunner:
    return web.AppRunner(
        app,
        access_log=None,
        auto_decompress=False,  # else a refused gzip bomb is inflated while it is drained
        keepalive_timeout=config.server.keepalive_s,
        read_bufsize=_READ_BUFFER,
        shutdown_timeout=1.0,
    )


async def _drain(app: web.Application, site: web.SockSite, drain_s: float) -> None:
    """Readiness goes down first; balancers see it; the port closes; what was accepted ends, within `drain_s`."""
    retire(app)
    try:
        async with asyncio.timeout(drain_s):
            await asyncio.sleep(min(_PROBE_PERIOD_S, drain_s / 2))
            drain(app)
            await site.stop()
            while not is_idle(app):  # noqa: ASYNC110  # counted by several endpoints
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        log.warning("what was not done within %g s of draining is given up", drain_s)
        await app[EXECUTOR].close()
