"""What an SDK or a server says went wrong, as errors of ours: may the job wait, or is it over?

Nothing that a server writes in prose is passed on: it may quote the prompt.

| what happened                                             | error                | the job           |
|-----------------------------------------------------------|----------------------|-------------------|
| no connection, 429, 502, 503                              | `ModelUnavailable`   | waits             |
| broken off or silent with the request in hand, other 5xx  | `ModelUnavailable`   | waits, is counted |
| prompt and answer do not fit the context                  | `ContextOverflow`    | fails             |
| 404                                                       | `AdapterNotFound`    | fails             |
| 401, 403                                                  | `ConfigurationError` | fails             |
| every other 4xx                                           | `JobFailed`          | fails             |
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from http import HTTPStatus

import httpx2
import openai

from switchtower.errors import (
    AdapterNotFound,
    ConfigurationError,
    ContextOverflow,
    JobFailed,
    ModelUnavailable,
    SwitchtowerError,
)

BROKEN = (openai.OpenAIError, httpx2.HTTPError, ValueError)
"""Whatever a call may end in; a chunk that is no JSON is a ValueError."""

_NOT_BEGUN = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_BUSY = frozenset({429, 502, 503})
_DENIED = frozenset({401, 403})
_OVERFLOW_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
_OVERFLOW = re.compile(r"context (?:length|size|window)|maximum model length|max_model_len|max_tokens must be at least")
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def unavailable(error: Exception) -> ModelUnavailable:
    """The error of a server that was not reached, or that broke off."""
    before = isinstance(error.__cause__, _NOT_BEGUN)
    said = "does not answer" if before else "broke off" if not _timed_out(error) else "was silent for too long"
    return ModelUnavailable(f"the model's server {said} ({type(error.__cause__ or error).__name__})", begun=not before)


def named(error: Exception, model: str) -> SwitchtowerError:
    """The named error for what a call of this model ended in."""
    status = _status(error)
    if not isinstance(error, openai.APIError) or status is None:
        return unavailable(error)
    if _overflows(error):
        return ContextOverflow("prompt and answer together do not fit the model's context; shorten one of them")
    if status == HTTPStatus.NOT_FOUND:
        return AdapterNotFound(f"the server has no model {model!r}")
    if status in _DENIED:
        return ConfigurationError(f"the model's server answers {status}; check local.server_key")
    if status in _BUSY or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        said = f"the model's server answers {status}"
        return ModelUnavailable(said, retry_s=retry_after(error), begun=status not in _BUSY)
    return JobFailed(f"the model's server refused the request with status {status}{_codes(error)}")


def unknown(model: str, there_are: Iterable[str]) -> AdapterNotFound:
    """The error of a model that the server does not have."""
    return AdapterNotFound(f"the server has no model {model!r}; it has: {', '.join(sorted(there_are)) or 'none'}")


def retry_after(error: Exception) -> float:
    """How many seconds the server asks for; 0 where it asks for none."""
    said = error.response.headers.get("retry-after") if isinstance(error, openai.APIStatusError) else None
    try:
        seconds = float(said or 0)
    except ValueError:
        return 0  # a date: the grace time is as good a guess
    return seconds if math.isfinite(seconds) and seconds > 0 else 0


def _timed_out(error: Exception) -> bool:
    return isinstance(error, openai.APITimeoutError | httpx2.TimeoutException)


def _status(error: Exception) -> int | None:
    """The HTTP status, also of an error that comes in mid-stream, where it stands in the code."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code
    code = error.code if isinstance(error, openai.APIError) else None
    return int(code) if code and code.isdecimal() else None


def _overflows(error: openai.APIError) -> bool:
    return not _OVERFLOW_CODES.isdisjoint({error.code, error.type}) or bool(
        _status(error) in {400, 413, 422} and _OVERFLOW.search(error.message)
    )


def _codes(error: openai.APIError) -> str:
    said = [str(code) for code in (error.type, error.code) if code and _CODE.fullmatch(str(code))]
    return f" ({', '.join(said)})" if said else ""
