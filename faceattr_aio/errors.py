"""The failures of requests, each with a stable type, an HTTP status and a message for the client. They can be pickled,
because workers send them to the server.
"""

from typing import ClassVar, Self


class StartError(Exception):
    """The program cannot start. The message is one sentence that says what to do."""


class WorkerGone(Exception):
    """A worker exited before it received its task, so another worker can run it."""


class ClientGone(Exception):
    """The client has disconnected, so the answer is no longer needed."""


class FaceattrError(Exception):
    """A request failed with the HTTP status `status`.

    `detail` is the public message, by default `default_detail` or the title. `log` is for the server's log only.
    `members` are added to the problem document.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    default_detail: ClassVar[str] = ""

    def __init__(self, detail: str = "", *, log: str = "", **members: object) -> None:
        super().__init__(detail)
        self.detail: str = detail or self.default_detail or f"{self.title}."
        self.log = log
        self.members = members

    def without_traceback(self) -> Self:
        """Remove traceback, cause and context, which keep objects alive such as workers and open files."""
        for name in ("__traceback__", "__cause__", "__context__"):
            setattr(self, name, None)
        return self

    @classmethod
    def from_exception(cls, cause: BaseException, detail: str) -> Self:
        """Return this failure with `detail`, and with `cause` for the log."""
        return cls(detail, log=f"{type(cause).__name__}: {cause}")


class RetryableError(FaceattrError):
    """The same request may succeed after `retry_after_s` seconds."""

    def __init__(self, detail: str = "", *, log: str = "", retry_after_s: float = 1.0, **members: object) -> None:
        super().__init__(detail, log=log, **members)
        self.retry_after_s = retry_after_s


NotNow = RetryableError
"""The name in version 0.1."""


class InternalError(FaceattrError):
    """A fault of the server, such as a worker that was killed. Not retried, because the picture may be the cause."""

    default_detail = "The picture could not be processed (internal error); see the server's log for this request id."


class MalformedUpload(FaceattrError):
    status, kind, title = 400, "malformed-upload", "The upload is malformed"


class NoImage(FaceattrError):
    status, kind, title = 400, "no-image", "The request contains no picture"


class BadOption(FaceattrError):
    status, kind, title = 400, "bad-option", "An option is unknown or out of range"


class TooManyParts(FaceattrError):
    status, kind, title = 400, "too-many-parts", "The upload has too many parts"


class BatchTooLarge(FaceattrError):
    status, kind, title = 400, "batch-too-large", "The request has too many pictures"


class Unauthorized(FaceattrError):
    status, kind, title = 401, "unauthorized", "An API key is required"
    default_detail = "Send a valid API key as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."


class UnknownJob(FaceattrError):
    status, kind, title = 404, "unknown-job", "Unknown job"
    default_detail = "The job does not exist, was submitted with another API key, or has expired."


class NotAcceptable(FaceattrError):
    status, kind, title = 406, "not-acceptable", "No acceptable response format"


class UploadTimeout(FaceattrError):
    status, kind, title = 408, "upload-timeout", "The upload took too long"


class ReloadFailed(FaceattrError):
    """The new models or settings cannot be used; the previous ones stay in use."""

    status, kind, title = 409, "reload-failed", "The reload failed"


class UploadTooLarge(FaceattrError):
    status, kind, title = 413, "upload-too-large", "The upload is too large"


class UnsupportedMedia(FaceattrError):
    status, kind, title = 415, "unsupported-media", "The picture type is not accepted"


class UnknownExpectation(FaceattrError):
    status, kind, title = 417, "unknown-expectation", "The only supported expectation is 100-continue"


class UnreadableImage(FaceattrError):
    status, kind, title = 422, "unreadable-image", "The picture is damaged"


class TooManyPixels(FaceattrError):
    status, kind, title = 422, "too-many-pixels", "The picture has too many pixels"


class TooComplex(FaceattrError):
    status, kind, title = 422, "too-complex", "The picture takes too long to decode"


class TooBlurred(FaceattrError):
    status, kind, title = 422, "too-blurred", "The picture is too blurred"


class RateLimited(RetryableError):
    """One client exceeds its rate or concurrency limit; other clients are served."""

    status, kind, title = 429, "rate-limited", "Too many requests from this client"


class Unavailable(RetryableError):
    status, kind, title = 503, "unavailable", "Not available at the moment"
    default_detail = "No picture can be processed at the moment; /readyz reports when the server is ready again."


class Overloaded(Unavailable):
    kind, title = "overloaded", "The server is at capacity"


class Draining(Unavailable):
    kind, title = "draining", "The server is shutting down"
    default_detail = "The server is shutting down; send the request to another server or retry later."


class StorageUnavailable(Unavailable):
    kind, title = "storage", "Storage is not available"


class DeadlineOutOfReach(Unavailable):
    kind, title = "deadline", "The deadline cannot be met"


class DeadlineExceeded(FaceattrError):
    status, kind, title = 504, "deadline-exceeded", "The answer came too late"
    default_detail = "The answer was not ready within the time limit of the request or of one picture."
