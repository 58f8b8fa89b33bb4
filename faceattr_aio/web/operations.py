"""Routes for operators: /livez, /readyz, /healthz and /admin/reload."""

from aiohttp import web

from faceattr_aio.errors import ReloadFailed
from faceattr_aio.inference.executor import Executor
from faceattr_aio.uploads.spool import Spool
from faceattr_aio.web.auth import Authenticator


class Admin:
    """Answers health checks under any load, and requests of administrators. Without `auth` the latter are 404."""

    def __init__(self, executor: Executor, spool: Spool, auth: Authenticator | None) -> None:
        self.auth = auth
        self.is_only_process = True
        """False when several processes listen on the same port."""
        self._executor, self._spool = executor, spool

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        router.add_get("/livez", self.live)
        router.add_get("/healthz", self.live)
        router.add_get("/readyz", self.ready)
        router.add_post("/admin/reload", self.reload)

    async def live(self, _: web.Request) -> web.Response:
        """Answer 200 while the event loop runs."""
        return web.json_response({"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        """Answer 200 when pictures can be processed, else 503; `?verbose` lists the checks and the last reload."""
        executor = self._executor
        checks = {
            "models": "ok" if executor.pool.started else "loading",
            "workers": executor.pool.fault or "ok",
            "storage": await self._spool.find_fault() or "ok",
            "accepting": "draining" if executor.retiring else "ok",
        }
        failed = [name for name, state in checks.items() if state != "ok"]
        document: dict[str, object] = {"status": ", ".join(failed) or "ok"}
        if "verbose" in request.query:
            document["checks"] = checks
            if executor.reload_fault:
                document["last_reload"] = executor.reload_fault
        return web.json_response(document, status=503 if failed else 200)

    async def reload(self, request: web.Request) -> web.Response:
        """Start new workers with the model files as they are now; answer when all are replaced.

        Raises ReloadFailed when one cannot be started; the previous models stay in use then.
        """
        if self.auth is None:
            raise web.HTTPNotFound
        self.auth.identify(request)
        if not self.is_only_process:
            raise ReloadFailed("One of several processes cannot reload the others: send SIGHUP to their parent.")
        return web.json_response({"models": dict(await self._executor.reload())})
