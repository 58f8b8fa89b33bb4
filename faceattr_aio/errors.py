"""Every failure by its name: a stable type, an HTTP status, and a sentence a person can act on.
Knows neither HTTP libraries nor pixels; an error crosses from a worker process as plain data.
"""

from typing import ClassVar, Self


class StartError(Exception):
    """The program cannot start; the message is one sentence that says what to do about it."""


class WorkerGone(Exception):
    """A worker had ended before it was given its task: another one can take it."""


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class FaceattrError(Exception):
    """A request fails with `status`. `detail` is public, and `sentence` where there is no more to say; `members` join
    the problem document; `log` never leaves us.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    sentence: ClassVar[str] = "Something failed."

    def __init__(self, detail: str = "", *, log: str = "", **members: object) -> None:
        super().__init__(detail)
        self.detail: str = detail or self.sentence
        self.log = log
        self.members = members

    def bare(self) -> Self:
        """The same without its history, which keeps alive what was at hand when it was raised: workers, descriptors."""
        for name in ("__traceback__", "__cause__", "__context__"):
            setattr(self, name, None)
        return self

    @classmethod
    def because(cls, cause: BaseException, detail: str) -> Self:
        """The same failure with its cause kept for the log."""
        return cls(detail, log=f"{type(cause).__name__}: {cause}")


class RetryableError(FaceattrError):
    """The same request may succeed in `retry_after_s` (seconds)."""

    def __init__(self, detail: str = "", *, log: str = "", retry_after_s: float = 1.0, **members: object) -> None:
        super().__init__(detail, log=log, **members)
        self.retry_after_s = retry_after_s


NotNow = RetryableError
"""The name in programs written for version 0.1."""


class InternalError(FaceattrError):
    """A fault of ours, a killed worker included; never retried, because the picture may be what killed it."""

    sentence = "The picture could not be processed, through a fault of ours; the log has more under this request's id."


class MalformedUpload(FaceattrError):
    status, kind, title = 400, "malformed-upload", "The upload cannot be read"


class NoImage(FaceattrError):
    status, kind, title = 400, "no-image", "No picture in the request"


class BadOption(FaceattrError):
    status, kind, title = 400, "bad-option", "An option is unknown or out of range"


class TooManyParts(FaceattrError):
    status, kind, title = 400, "too-many-parts", "Too many parts in the upload"


class BatchTooLarge(FaceattrError):
    status, kind, title = 400, "batch-too-large", "Too many pictures in one request"


class Unauthorized(FaceattrError):
    status, kind, title = 401, "unauthorized", "An API key is needed"
    sentence = "Send an API key that is valid here, as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'."


class UnknownJob(FaceattrError):
    status, kind, title = 404, "unknown-job", "No such job"
    sentence = "There is no such job, or it was not made with your key, or its time is over."


class NotAcceptable(FaceattrError):
    status, kind, title = 406, "not-acceptable", "No answer in the wanted form"


class UploadTimeout(FaceattrError):
    status, kind, title = 408, "upload-timeout", "The upload took too long"


class ReloadFailed(FaceattrError):
    """New models or settings cannot be used, and those of before are."""

    status, kind, title = 409, "reload-failed", "The models were not reloaded"


class UploadTooLarge(FaceattrError):
    status, kind, title = 413, "upload-too-large", "The upload is too large"


class UnsupportedMedia(FaceattrError):
    status, kind, title = 415, "unsupported-media", "Not a picture type that is accepted"


class UnknownExpectation(FaceattrError):
    status, kind, title = 417, "unknown-expectation", "Only 100-continue can be expected"


class UnreadableImage(FaceattrError):
    status, kind, title = 422, "unreadable-image", "The picture is damaged"


class TooManyPixels(FaceattrError):
    status, kind, title = 422, "too-many-pixels", "The picture has too many pixels"


class TooComplex(FaceattrError):
    status, kind, title = 422, "too-complex", "The picture takes too long to decode"


class TooBlurred(FaceattrError):
    status, kind, title = 422, "too-blurred", "The picture is too blurred"


class RateLimited(RetryableError):
    """One client has had its share; the others are served."""

    status, kind, title = 429, "rate-limited", "More than one client's share"


class Unavailable(RetryableError):
    status, kind, title = 503, "unavailable", "Not available at the moment"
    sentence = "No picture can be worked on at the moment; /readyz tells when that is over."


class Overloaded(Unavailable):
    kind, title = "overloaded", "As much as can be done is being done"


class Draining(Unavailable):
    kind, title = "draining", "The server is going down"
    sentence = "The server is going down; send the request to another one, or again later."


class StorageUnavailable(Unavailable):
    kind, title = "storage", "No room for the upload"


class DeadlineOutOfReach(Unavailable):
    kind, title = "deadline", "The answer would come too late"


class DeadlineExceeded(FaceattrError):
    status, kind, title = 504, "deadline-exceeded", "The answer came too late"
    sentence = "The answer was not ready in the time that the request, or one picture of it, is given."
