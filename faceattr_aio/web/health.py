"""/livez, /readyz, /healthz: whether the loop turns, and whether this instance should get work.
Knows no pipeline and changes nothing.
"""

from aiohttp import web

from faceattr_aio.inference.executor import Executor
from faceattr_aio.uploads.spool import Spool


class Health:
    """Answers probes; cheap enough to be asked under any load."""

    def __init__(self, executor: Executor, spool: Spool) -> None:
        self._executor = executor
        self._spool = spool

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/livez", self.live)
        router.add_get("/healthz", self.live)
        router.add_get("/readyz", self.ready)

    async def live(self, _: web.Request) -> web.Response:
        """200 while the loop turns, whatever the load."""
        return web.json_response({"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        """200 when work is welcome, else 503; `?verbose` lists the checks, and why the last reload failed."""
        checks = await self._checks()
        failed = [name for name, state in checks.items() if state != "ok"]
        document: dict[str, object] = {"status": ", ".join(failed) or "ok"}
        if "verbose" in request.query:
            document["checks"] = checks
            if self._executor.reload_fault:
                document["last_reload"] = self._executor.reload_fault
        return web.json_response(document, status=503 if failed else 200)

    async def _checks(self) -> dict[str, str]:
        executor = self._executor
        started = "ok" if executor.pool.started else "loading"
        accepting = "draining" if executor.retiring else "ok"
        return {
            "models": started,
            "workers": executor.pool.fault or "ok",
            "storage": await self._spool.find_fault() or "ok",
            "accepting": accepting,
        }
