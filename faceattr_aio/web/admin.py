"""/admin: what only those may ask for who run the server. Knows no pipeline."""

from aiohttp import web

from faceattr_aio.errors import ReloadFailed
from faceattr_aio.inference.executor import Executor
from faceattr_aio.web.auth import Authenticator


class Admin:
    """Answers `admins`; when there are none, nobody."""

    def __init__(self, executor: Executor, admins: Authenticator | None) -> None:
        self.admins = admins
        self.is_alone = True
        """Whether no other process answers on the same port."""
        self._executor = executor

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/admin/reload", self.reload)

    async def reload(self, request: web.Request) -> web.Response:
        """New workers with the model files as they are now. Answers once all are at work, or the old ones again."""
        if self.admins is None:
            raise web.HTTPNotFound
        self.admins.identify(request)
        if not self.is_alone:
            raise ReloadFailed(
                "One of several processes cannot reload for all: send SIGHUP to the one that began them."
            )
        return web.json_response({"models": dict(await self._executor.reload())})
