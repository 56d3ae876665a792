"""The evidence once more in a bucket on S3 or OBS: outside of the host, and of the region, that may be lost.

The folder is where the chain is made; the bucket gets whatever of it is missing there, so a copy that failed is made up for
by the next run.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from backup_to_image.errors import UsageError
from backup_to_image.evidence.chain import HEAD
from backup_to_image.evidence.record import Nonsense, load
from backup_to_image.otc.credentials import is_loopback
from backup_to_image.settings import Settings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Store

__all__ = ["copy_to_bucket", "must_be_copyable"]

_SECONDS = 30.0
"""For a request with all its repetitions."""
_RETRIES = 2
_ENDPOINT = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_NEEDED = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
_TOKEN = ("AWS_SESSION_TOKEN", "AWS_TOKEN")
"""Of a temporary key pair: the client reads them, as it does the other variables AWS_... that it knows."""
_INSTALL = "pip install 'backup-to-image[s3]'"


class _NotCopied(Exception):
    """Why, in words of ours alone: what the store or its client says may hold a key."""


def must_be_copyable(settings: Settings) -> None:
    """Raises UsageError where a bucket is named and the package that speaks with buckets is not installed."""
    if settings.evidence_bucket and not _installed():
        raise UsageError(
            "`evidence_bucket` in b2i.yaml needs the Python package obstore, which is not installed.",
            action=f"Install it: {_INSTALL}.",
        )


async def copy_to_bucket(folder: Path, bucket: str, environ: Mapping[str, str], *, tell: Callable[[str], None]) -> None:
    """Copy what the bucket lacks of the folder's records and pages, then `head.json`. What fails is told, and fails nothing."""
    try:
        await _copy(folder, bucket, environ)
    except (_NotCopied, OSError) as error:
        why = f"{error.filename} cannot be read ({error.strerror})" if isinstance(error, OSError) else error
        tell(f"warning: the evidence in {folder} is not copied to {bucket}: {why}. Nothing is lost: the next run copies it")


async def _copy(folder: Path, bucket: str, environ: Mapping[str, str]) -> None:
    # In threads: the client's own coroutines abort a process that ends soon after them, by a flaw of pyo3-async-runtimes.
    store = _store(bucket, environ)
    head = await asyncio.to_thread((folder / HEAD).read_bytes)  # first: all that it stands for is in the folder by now
    there = await asyncio.to_thread(_names_in, store)
    for path in await asyncio.to_thread(lambda: list(_missing(folder, there))):
        await asyncio.to_thread(_put, store, path)
    await asyncio.to_thread(_put, store, folder / HEAD, head)


def _missing(folder: Path, there: set[str]) -> Iterator[Path]:
    """The records that are not there, and pages beside records. They never change, so their names tell."""
    for record in sorted(folder.glob("*.json")):
        files = [path for path in (record, record.with_suffix(".html")) if path.name not in there and path.is_file()]
        if files and record.name != HEAD and _is_record(record):
            yield from files


def _is_record(path: Path) -> bool:
    try:
        return load(path).name == path.name
    except Nonsense:
        return False


# -- the store ----------------------------------------------------------------------------------------------------------


def _installed() -> bool:
    try:
        import_module("obstore")
    except ImportError:
        return False
    return True


def _store(bucket: str, environ: Mapping[str, str]) -> S3Store:
    """The bucket, with what the environment says: nothing else is asked for a key, no file and no metadata service."""
    if not _installed():
        raise _NotCopied(f"the Python package obstore is not installed ({_INSTALL})")
    from obstore.exceptions import BaseError  # noqa: PLC0415 - installed only where a bucket is named
    from obstore.store import S3Store  # noqa: PLC0415 - as the line above

    variable = next((name for name in _ENDPOINT if environ.get(name)), _ENDPOINT[-1])
    if missing := [name for name in (variable, *_NEEDED) if not environ.get(name)]:
        raise _NotCopied(f"the environment lacks {', '.join(missing)}")
    if wrong := [name for name in (variable, *_NEEDED, *_TOKEN) if not re.fullmatch(r"[!-~]*", environ.get(name, ""))]:
        raise _NotCopied(f"{', '.join(wrong)} in the environment holds blanks or line ends")
    half = timedelta(seconds=_SECONDS / 2)  # for one try, and until when another may begin
    name, _, prefix = bucket.removeprefix("s3://").strip("/").partition("/")
    try:
        return S3Store(
            name,
            prefix=prefix or None,
            aws_endpoint_url_s3=environ[variable].rstrip("/"),
            access_key_id=environ["AWS_ACCESS_KEY_ID"],
            secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
            region=environ["AWS_REGION"],
            client_options={"timeout": half, **_connection(variable, environ[variable])},
            retry_config={"max_retries": _RETRIES, "retry_timeout": half},
        )
    except (BaseError, ValueError):
        raise _NotCopied("a variable AWS_... of the environment holds what is none of its values") from None


def _connection(variable: str, endpoint: str) -> ClientConfig:
    """TLS, but for this host itself, which no proxy stands before either."""
    try:
        parts = urlsplit(endpoint)
        host, near = parts.hostname or "", is_loopback(parts.hostname or "")
        parts.port  # noqa: B018 - whether it is a number
    except ValueError:
        raise _NotCopied(f"{variable} is no address: write https://HOST") from None
    if not host or parts.scheme not in {"http", "https"} or "@" in parts.netloc or parts.query or parts.fragment:
        raise _NotCopied(f"{variable} must be https://HOST, without user, password and query")
    if parts.scheme == "http" and not near:
        raise _NotCopied(f"{variable} must be https://: only loopback may do without TLS")
    if near:
        return {"allow_http": True, "proxy_url": endpoint, "proxy_excludes": host}
    return {"allow_http": False}


def _names_in(store: S3Store) -> set[str]:
    with _asked():
        found = store.list_with_delimiter()  # pyright: ignore[reportUnknownMemberType] - it can give Arrow too
    return {one["path"] for one in found["objects"]}


def _put(store: S3Store, path: Path, content: bytes | None = None) -> None:
    content = path.read_bytes() if content is None else content
    with _asked():
        store.put(path.name, content, use_multipart=False)


@contextmanager
def _asked() -> Generator[None]:
    """What fails is told in our words."""
    from obstore.exceptions import BaseError  # noqa: PLC0415 - installed only where a bucket is named

    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise _NotCopied(_words(error)) from None


# -- what failed --------------------------------------------------------------------------------------------------------

_CODES = {
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": (_DENIED := "the key pair may not do it: it has to list the bucket and to put objects into it"),
    "InvalidAccessKeyId": "the store does not know AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID",
    "AuthorizationHeaderMalformed": (_ELSEWHERE := "the bucket is elsewhere: look at AWS_REGION and the endpoint"),
    "PermanentRedirect": _ELSEWHERE,
    "RequestTimeTooSkewed": "the clock of this host is wrong",
}
"""What S3 and OBS call it."""
_STATUSES = {401: _DENIED, 403: _DENIED, 404: _CODES["NoSuchBucket"], 301: _ELSEWHERE, 307: _ELSEWHERE}
_SIGNS = {
    "BareRedirect": _ELSEWHERE,
    "kind: Timeout": f"the store does not answer (tried for {_SECONDS / 2:.0f} s)",
    "InvalidCertificate": "the certificate of the store is not trusted (SSL_CERT_FILE names its authority)",
    "kind: Connect": "the store cannot be reached: look at the endpoint, the network and the proxy",
    "InvalidListResponse": "what answers at the endpoint does not speak S3",
}
"""What stands in the client's words, which are for programmers."""


def _words(error: Exception) -> str:
    """Why, in plain words: chosen by what the client says, which itself repeats whatever the store says."""
    said = str(error)
    code = next((words for code, words in _CODES.items() if f"<Code>{code}</Code>" in said), None)
    if code:
        return code
    if status := re.search(r"status code: (\d{3})\b", said):
        return _STATUSES.get(int(status[1]), f"the store answers {status[1]}")
    return next((words for sign, words in _SIGNS.items() if sign in said), "the store does not take it")
