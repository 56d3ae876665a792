"""Evidence is in a bucket too: whatever is missing there arrives, what fails is told and made up for, and no key is ever seen."""

import asyncio
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree.ElementTree import Element, SubElement, tostring

import pytest
import trustme
import yaml
from pydantic import SecretStr

from backup_to_image.clock import FakeClock
from backup_to_image.errors import UsageError
from backup_to_image.evidence import Kept, keep_evidence, verify
from backup_to_image.evidence import bucket as copying
from backup_to_image.journal import Journal
from backup_to_image.model.recovery import RunbookRun
from backup_to_image.otc import Cloud, Credentials
from backup_to_image.settings import Directories, Settings, read_settings
from backup_to_image.steps.context import Context
from tests.support.region import Region
from tests.support.runbooks import DRILL, FAILOVER, WEB
from tests.support.runs import BEGAN, drill

SECRET, KEY = "secret-wJalrXUtnFEMI", "AKEXAMPLE0123456789"
BUCKET = "s3://shop-evidence/kept/here"


class Store:
    """As much of S3 as is asked of it, on loopback; it sees that everything is signed and nothing tells the secret."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        """Every request: its method and what it is about."""
        self.fails: dict[str, int] = {}
        """Statuses that are answered instead, by method."""
        self.after = 0
        """So many of these requests go well before they fail."""
        self.wrong: list[str] = []
        self.tokens: set[str | None] = set()
        self.talks_otherwise = False
        self.go_on = threading.Event()
        self.go_on.set()
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Quiet."""

            def do_GET(self) -> None:
                store.answer(self)

            do_PUT = do_GET  # noqa: N815 - as http.server calls it

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def put(self) -> list[str]:
        return [name for method, name in self.asked if method == "PUT"]

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        path, query = urlsplit(request.path).path, parse_qs(urlsplit(request.path).query)
        name = path.removeprefix("/shop-evidence").strip("/")
        self._look_at(request, body)
        self.asked.append((request.command, name))
        self.go_on.wait(5)
        status, content = self.fails.get(request.command, 200), b""
        if status != 200 and sum(method == request.command for method, _ in self.asked) > self.after:
            content = f"<Error><Code>Nope</Code><AWSAccessKeyId>{KEY}</AWSAccessKeyId><Key>{SECRET}</Key></Error>".encode()
        elif request.command == "PUT":
            status, self.objects[name] = 200, body
        elif self.talks_otherwise:
            content = b"Welcome"
        elif query.get("list-type") == ["2"]:
            content = self._listed(query["prefix"][0] if "prefix" in query else "")
        request.send_response(status)
        request.send_header("etag", '"1"')
        request.send_header("content-length", str(len(content)))
        with suppress(OSError):  # who asked has given up
            request.end_headers()
            request.wfile.write(content)

    def _look_at(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        signed = f"AWS4-HMAC-SHA256 Credential={KEY}/"
        if not request.headers.get("authorization", "").startswith(signed):
            self.wrong.append(f"{request.requestline} is not signed")
        self.tokens.add(request.headers.get("x-amz-security-token"))
        if SECRET in f"{request.requestline} {request.headers}" or SECRET.encode() in body:
            self.wrong.append(f"{request.requestline} tells the secret")

    def _listed(self, prefix: str) -> bytes:
        root = Element("ListBucketResult")
        for name in sorted(one for one in self.objects if one.startswith(prefix)):
            entry = SubElement(root, "Contents")
            for tag, text in {"Key": name, "Size": "1", "ETag": '"1"', "LastModified": "2026-11-29T13:05:01.000Z"}.items():
                SubElement(entry, tag).text = text
        return tostring(root)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    made = Store()
    for name, value in {
        "AWS_ENDPOINT_URL": made.address,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "eu-nl",
    }.items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()
    assert made.wrong == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    made = Region(tmp_path)
    made.write_settings(evidence_bucket=BUCKET, directories={"evidence": "evidence"})
    yield made
    made.close()


@asynccontextmanager
async def host(folder: Path, told: list[str], bucket: str | None = BUCKET) -> AsyncIterator[Context]:
    nobody = Credentials(auth_url="http://127.0.0.1:9", token=SecretStr("none"), project_id="p")
    settings = Settings(directories=Directories(evidence=folder), evidence_bucket=bucket)
    async with (
        Cloud.connect(nobody, clock=FakeClock()) as cloud,
        Journal.at(folder.parent / "journal", clock=cloud.clock) as journal,
    ):
        yield Context(cloud, journal, settings, tell=told.append)


async def keep(folder: Path, *numbers: int, bucket: str | None = BUCKET) -> tuple[list[Kept], list[str]]:
    """The evidence of the runs of these days, and what was told."""
    told: list[str] = []
    async with host(folder, told, bucket) as ctx:
        return [await keep_evidence(nth(number), ctx) for number in numbers], told


def nth(number: int) -> RunbookRun:
    return drill(id=f"shop-drill-{number:012x}", began_at=BEGAN + timedelta(days=number))


def warning(told: list[str]) -> str:
    """The one line that tells of it, which holds nothing that only the environment knows."""
    (line,) = told
    assert line.startswith("warning: the evidence in ")
    assert f"is not copied to {BUCKET}: " in line
    assert line.endswith(". Nothing is lost: the next run copies it")
    assert not {part for part in (SECRET, KEY, "\n", "Nope", "Debug") if part in line}
    return line


def in_folder(folder: Path, prefix: str = "kept/here/") -> dict[str, bytes]:
    return {prefix + path.name: path.read_bytes() for path in folder.iterdir()}


# -- what arrives -------------------------------------------------------------------------------------------------------


async def test_a_record_its_page_and_the_head_arrive_as_they_are(folder: Path, store: Store) -> None:
    (one,), told = await keep(folder, 1)
    assert told == []
    assert store.objects == in_folder(folder)
    assert store.put == [f"kept/here/{name}" for name in (one.record.name, one.page.name, "head.json")]


async def test_what_is_there_is_not_sent_again_and_the_head_goes_last(folder: Path, store: Store) -> None:
    await keep(folder, 1)
    store.asked.clear()
    (two,), told = await keep(folder, 2)
    assert told == []
    assert store.asked == [
        ("GET", ""),
        *(("PUT", f"kept/here/{name}") for name in (two.record.name, two.page.name, "head.json")),
    ]
    assert store.objects == in_folder(folder)


async def test_only_records_and_their_pages_leave_the_folder(folder: Path, store: Store) -> None:
    folder.mkdir()
    for name in ("notes.json", "night-shop.html", "notes.html", "keys.txt", ".shop.json.0a1b"):
        (folder / name).write_text("mine")
    (one,), told = await keep(folder, 1)
    copy = one.record.with_name("copy-of-a-record.json")
    copy.write_bytes(one.record.read_bytes())
    await keep(folder, 1)
    assert told == []
    assert sorted(store.objects) == sorted(f"kept/here/{name}" for name in (one.record.name, one.page.name, "head.json"))


async def test_the_folder_of_before_is_copied_by_the_first_run_with_a_bucket(folder: Path, store: Store) -> None:
    await keep(folder, 1, 2, bucket=None)
    assert store.asked == []
    await keep(folder, 3)
    assert store.objects == in_folder(folder)


async def test_without_a_prefix_it_lies_at_the_top(folder: Path, store: Store) -> None:
    _, told = await keep(folder, 1, bucket="s3://shop-evidence/")
    assert told == []
    assert store.objects == in_folder(folder, prefix="")


async def test_the_bucket_copied_back_is_the_chain(folder: Path, store: Store, tmp_path: Path) -> None:
    await keep(folder, 1, 2, 3)
    back = tmp_path / "back"
    back.mkdir()
    for name, content in store.objects.items():
        (back / Path(name).name).write_bytes(content)
    assert [check.verdict for check in verify(next(back.glob("shop-*.json"))).checks] == ["passed"]


async def test_a_slash_at_the_end_of_the_endpoint_says_nothing(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{store.address}/")
    _, told = await keep(folder, 1)
    assert told == []
    assert store.objects == in_folder(folder)


async def test_a_file_that_cannot_be_read_is_named(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.suffix == ".html":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (one,), told = await keep(folder, 1)
    assert f"{one.page} cannot be read (Permission denied)" in warning(told)


async def test_the_token_of_a_temporary_key_pair_goes_along(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-an-hour")
    _, told = await keep(folder, 1)
    assert told == []
    assert store.tokens == {"of-an-hour"}


async def test_loopback_is_reached_past_a_proxy(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    _, told = await keep(folder, 1)
    assert told == []
    assert store.objects == in_folder(folder)


# -- what fails ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        ({"GET": 403}, "the key pair may not do it"),
        ({"PUT": 403}, "the key pair may not do it"),
        ({"GET": 404}, "there is no such bucket"),
        ({"PUT": 500}, "the store answers 500"),
        ({"GET": 301}, "look at AWS_REGION and the endpoint"),
    ],
)
async def test_a_store_that_refuses_loses_nothing_and_the_next_run_makes_up_for_it(
    folder: Path, store: Store, fails: dict[str, int], words: str
) -> None:
    store.fails = fails
    (one,), told = await keep(folder, 1)
    assert words in warning(told)
    assert verify(one.record).ok
    assert store.objects == {}
    store.fails = {}
    _, told = await keep(folder, 2)
    assert told == []
    assert store.objects == in_folder(folder)


async def test_a_copy_that_breaks_off_has_sent_no_head_and_is_gone_on_with(folder: Path, store: Store) -> None:
    await keep(folder, 1, 2, bucket=None)
    store.fails, store.after = {"PUT": 403}, 3
    _, told = await keep(folder, 3)
    assert warning(told)
    assert len(store.objects) == 3
    assert "kept/here/head.json" not in store.objects
    there = set(store.objects)
    store.fails = {}
    store.asked.clear()
    await keep(folder, 3)
    assert store.objects == in_folder(folder)
    assert not there & set(store.put), "what had arrived is not sent again"


async def test_nobody_who_listens_is_told_and_the_evidence_stays(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")  # which goes before AWS_ENDPOINT_URL
    (one,), told = await keep(folder, 1)
    assert "cannot be reached" in warning(told)
    assert verify(one.record).ok
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    await keep(folder, 2)
    assert store.objects == in_folder(folder)


async def test_a_store_that_hangs_is_given_up_in_time(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_SECONDS", 0.2)
    store.go_on.clear()
    (one,), told = await keep(folder, 1)
    assert "does not answer" in warning(told)
    assert verify(one.record).ok


async def test_a_certificate_that_nobody_knows_is_told_as_that(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(line)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=line) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        _, told = await keep(folder, 1)
    assert "the certificate of the store is not trusted" in warning(told)


@pytest.mark.slow
def test_a_process_that_ends_right_after_the_store_has_failed_ends_well(tmp_path: Path, store: Store) -> None:
    """In processes of their own: a client that is still at work when Python ends could abort it."""
    code = (
        "import asyncio, os; from pathlib import Path; from backup_to_image.evidence.bucket import copy_to_bucket\n"
        f"asyncio.run(copy_to_bucket(Path('.'), {BUCKET!r}, os.environ, tell=print))\n"
    )
    (tmp_path / "head.json").write_text("{}")
    store.fails = {"GET": 403}
    started = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE) for _ in range(3)]
    said = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert all(b"the key pair may not do it" in one for one in said)


async def test_who_speaks_no_s3_is_told_as_that(folder: Path, store: Store) -> None:
    store.talks_otherwise = True
    _, told = await keep(folder, 1)
    assert "does not speak S3" in warning(told)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AWS_ENDPOINT_URL", "", "lacks AWS_ENDPOINT_URL."),
        ("AWS_SECRET_ACCESS_KEY", "", "lacks AWS_SECRET_ACCESS_KEY."),
        ("AWS_REGION", "", "lacks AWS_REGION."),
        ("AWS_ACCESS_KEY_ID", f"{KEY}\n", "AWS_ACCESS_KEY_ID in the environment holds blanks or line ends"),
        ("AWS_SESSION_TOKEN", f"{SECRET}\r", "AWS_SESSION_TOKEN in the environment holds blanks or line ends"),
        ("AWS_ENDPOINT_URL", "http://obs.example.com", "AWS_ENDPOINT_URL must be https://"),
        ("AWS_ENDPOINT_URL", f"https://{KEY}:{SECRET}@obs.example.com", "without user, password and query"),
        ("AWS_ENDPOINT_URL", "obs.example.com", "AWS_ENDPOINT_URL must be https://HOST"),
        ("AWS_ENDPOINT_URL", f"https://obs.example.com:{SECRET}", "AWS_ENDPOINT_URL is no address"),
        ("AWS_CHECKSUM_ALGORITHM", SECRET, "holds what is none of its values"),
    ],
)
async def test_what_is_wrong_with_the_environment_is_named_and_nothing_is_sent(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(name, value)
    (one,), told = await keep(folder, 1)
    assert words in warning(told)
    assert verify(one.record).ok
    assert store.asked == []


# -- the package --------------------------------------------------------------------------------------------------------


@pytest.fixture
def runbook(region: Region) -> str:
    groups = [{"name": "web", "servers": [{"source": WEB, "probes": [{"console": "login:"}]}]}]
    told = {"name": "shop", "drill": DRILL, "failover": FAILOVER, "groups": groups}
    (region.folder / "shop.yaml").write_text(yaml.safe_dump(told))
    return "shop.yaml"


@pytest.mark.parametrize("words", [("drill",), ("failover", "--yes-i-mean", "shop")])
def test_without_the_package_a_run_does_not_begin(
    region: Region, runbook: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    ended = region.b2i("runbook", words[0], runbook, *words[1:])
    assert ended.code == 2
    assert "obstore" in ended.error["message"]
    assert "pip install 'backup-to-image[s3]'" in ended.error["action"]
    assert [asked for asked in region.asked if asked.writes and asked.operation in {"createServers", "createWholeImage"}] == []


def test_without_the_package_what_a_drill_has_left_is_taken_down_all_the_same(
    region: Region, runbook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert region.b2i("runbook", "cleanup", runbook).code == 0


async def test_without_the_package_an_end_is_kept_and_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    (one,), told = await keep(folder, 1)
    assert "pip install 'backup-to-image[s3]'" in warning(told)
    assert verify(one.record).ok


async def test_without_a_bucket_nobody_asks_for_the_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    _, told = await keep(folder, 1, bucket=None)
    assert told == []


def test_a_drill_whose_evidence_cannot_be_copied_has_passed(region: Region, runbook: str, store: Store) -> None:
    store.fails = {"PUT": 403}
    assert region.b2i("create", region.account["backups"]["available"][0]).code == 0
    ended = region.b2i("runbook", "drill", runbook)
    assert ended.code == 0
    assert Path(ended.told["evidence"]).is_file()
    assert "the key pair may not do it" in " ".join(ended.err.split())
    assert SECRET not in ended.out + ended.err


# -- the setting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        "https://obs.eu-nl.otc.t-systems.com/shop",
        "shop-evidence",
        "s3://",
        "s3:///kept",
        "s3://Shop",
        f"s3://{KEY}:{SECRET}@shop-evidence/kept",
        f"s3://shop-evidence/kept?secret={SECRET}",
        f"s3://shop-evidence/kept#{SECRET}",
        "s3://shop-evidence/../kept",
        "s3://shop-evidence//kept",
        f"[{SECRET}]",
    ],
)
def test_what_is_no_bucket_is_a_mistake_in_its_line_and_is_not_repeated(tmp_path: Path, value: str) -> None:
    file = tmp_path / "b2i.yaml"
    file.write_text(f"journal: journal\nevidence_bucket: {value if value.startswith('[') else repr(value)}\n")
    with pytest.raises(UsageError) as wrong:
        read_settings(str(file), environ={})
    (problem,) = wrong.value.problems
    assert problem.startswith(f"{file}:2: evidence_bucket: must be ")
    assert not {part for part in (SECRET, KEY, "kept?") if part in problem}


@pytest.mark.parametrize("value", ["s3://shop-evidence", "s3://shop.evidence/", BUCKET, "s3://shop-evidence/2026/Shop_1.x/"])
def test_a_bucket_has_a_name_and_may_have_a_prefix(tmp_path: Path, value: str) -> None:
    file = tmp_path / "b2i.yaml"
    file.write_text(f"evidence_bucket: {value}\n")
    assert read_settings(str(file), environ={}).evidence_bucket == value
