"""A journal on a real Valkey server: what is told when it says no, is silent or is gone; answers that are lost on the way."""

import asyncio
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from backup_to_image.errors import StillRunning
from backup_to_image.journal import Journal, JournalError, Record, hold
from backup_to_image.model.shared_place import SharedPlace
from tests.support.valkey import Valkey, free_port

PROJECT, SECRET = "ab" * 16, "correct horse battery"
RECORD = Record(kind="image", project_id=PROJECT, name="backup-1", state="intent", written_at=datetime(2026, 3, 10, tzinfo=UTC))


@pytest.fixture(scope="module")
def own() -> Iterator[Valkey]:
    """A server that the tests of this file may change the rules of."""
    with Valkey() as server:
        yield server


@pytest.fixture
def server(own: Valkey) -> Iterator[Valkey]:
    """The same, as it was before when the test is over."""
    yield own
    for rule in ("maxmemory 0", "maxmemory-policy noeviction", "appendonly yes", "min-replicas-to-write 0"):
        own.do("CONFIG", "SET", *rule.split())
    own.do("REPLICAOF", "NO", "ONE")
    own.do("FLUSHALL")


def place(address: str, password: str | None = None) -> SharedPlace:
    return SharedPlace.parse(address).model_copy(update={"password": SecretStr(password) if password else None})


async def refusal(where: SharedPlace) -> str:
    """Why the journal does not open there."""
    with pytest.raises(JournalError) as wrong:
        await Journal.at(where).open()
    assert wrong.value.exit_code == 2
    assert "Nothing was made" in wrong.value.action
    assert SECRET not in str(wrong.value) + repr(wrong.value)
    assert "Traceback" not in str(wrong.value)
    return wrong.value.message


# -- what a server may say ----------------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "connection refused" in await refusal(place("redis://127.0.0.1:1"))
    assert "connection refused" in await refusal(place("redis://localhost:1"))
    assert "No such file" in await refusal(place(f"unix://{tmp_path}/none.sock"))


@pytest.fixture
def robot(server: Valkey) -> Iterator[Callable[[str], SharedPlace]]:
    """A user with these rules, as the server's operator makes it."""

    def make(rules: str) -> SharedPlace:
        server.do("ACL", "SETUSER", "robot", "reset", "on", f">{SECRET}", *rules.split())
        return place(server.address.replace("//", "//robot@"), SECRET)

    yield make
    server.do("ACL", "DELUSER", "robot")


async def test_a_password_that_is_wrong_or_missing_is_told_and_never_shown(
    server: Valkey, robot: Callable[[str], SharedPlace]
) -> None:
    robot("~* +@all")
    wrong = place(server.address.replace("//", "//robot@"), f"{SECRET}!")
    assert "user robot or the password is wrong" in await refusal(wrong)
    assert "it has no password" in await refusal(place(server.address, SECRET))
    server.do("CONFIG", "SET", "requirepass", SECRET)
    try:
        assert "the password is wanted: set B2I_JOURNAL_PASSWORD" in await refusal(place(server.address))
        assert "the password is wrong" in await refusal(place(server.address, "other"))
        async with Journal.at(place(server.address, SECRET)) as journal:
            assert await journal.write(RECORD)
    finally:
        server.do("CONFIG", "SET", "requirepass", "", password=SECRET)
        server.stop()
        server.start()


def documented_rules() -> str:
    """The rules that docs/configuration.md tells the server's operator to give."""
    page = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")
    found = re.search(r"^ACL SETUSER \S+ on >\S+ (.+)$", page, re.MULTILINE)
    assert found
    return found[1]


async def test_the_documented_rules_suffice(robot: Callable[[str], SharedPlace]) -> None:
    where = robot(documented_rules())
    async with Journal.at(where) as journal:
        await journal.write(RECORD)
        assert await journal.read("image", PROJECT, "backup-1") is not None
        assert len(await journal.records("image")) == 1
        assert await journal.store.set_aside(RECORD.key)
        assert await journal.read("image", PROJECT, "backup-1") is None
        async with hold(journal, "image", PROJECT, "backup-1", deadline=journal.clock.now()) as lease:
            await lease.check()
        assert (journal.durable, journal.warnings) == (True, ())


@pytest.mark.parametrize("missing", ["eval", "set", "get", "incr", "del"])
async def test_a_right_that_is_missing_is_told_before_anything_depends_on_it(
    robot: Callable[[str], SharedPlace], missing: str
) -> None:
    told = await refusal(robot(documented_rules().replace(f" +{missing}", "")))
    assert "do not let user robot" in told


async def test_it_works_where_the_server_does_not_tell_of_itself(robot: Callable[[str], SharedPlace]) -> None:
    async with Journal.at(robot(documented_rules().replace(" +info", ""))) as journal:
        assert (journal.durable, journal.warnings) == (None, ())


async def test_keys_of_others_are_out_of_reach(server: Valkey, robot: Callable[[str], SharedPlace]) -> None:
    server.do("SET", "others:record:image-1", "{}")
    where = robot(documented_rules())
    other = place(str(where) + "?prefix=others", SECRET)
    assert "do not let user robot" in await refusal(other)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (["REPLICAOF 127.0.0.1 1"], "replica"),
        (["CONFIG SET maxmemory 1"], "memory is used up"),
        (["CONFIG SET min-replicas-to-write 1"], "NOREPLICAS"),
    ],
)
async def test_a_server_that_cannot_be_written_stops_everything_before_it_begins(
    server: Valkey, rules: list[str], words: str
) -> None:
    async with Journal.at(place(server.address)) as open_already:
        for rule in rules:
            server.do(*rule.split())
        assert words in await refusal(place(server.address))
        with pytest.raises(JournalError, match=words):
            await open_already.write(RECORD)
        with pytest.raises(JournalError, match=words):
            async with hold(open_already, "image", PROJECT, "x", deadline=open_already.clock.now()):
                pytest.fail("held")


async def test_a_cluster_is_told_as_what_it_is() -> None:
    with Valkey(cluster_enabled="yes", cluster_port=str(free_port())) as node:
        assert "cluster" in await refusal(place(node.address))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("appendonly no", "appendonly yes"),
        ("maxmemory 100mb|maxmemory-policy allkeys-lru", "noeviction"),
        ("maxmemory 100mb|maxmemory-policy volatile-ttl", "noeviction"),
    ],
)
async def test_a_server_that_may_forget_works_and_says_so(server: Valkey, rule: str, words: str) -> None:
    for one in rule.split("|"):
        server.do("CONFIG", "SET", *one.split())
    async with Journal.at(place(server.address)) as journal:
        assert journal.durable is False
        (warning,) = journal.warnings
        assert words in warning
        assert await journal.write(RECORD)


async def test_what_was_written_outlasts_a_power_cut_of_the_server() -> None:
    with Valkey() as server:
        async with Journal.at(place(server.address)) as journal:
            written = await journal.write(RECORD)
            server.stop()
            with pytest.raises(JournalError, match="connection refused"):
                await journal.write(RECORD)
            server.start()
            assert await journal.read("image", PROJECT, "backup-1") == written


async def test_a_server_that_is_restarted_is_waited_for_and_nothing_fails_that_asks_it_meanwhile() -> None:
    with Valkey() as server:
        async with Journal.at(place(server.address)) as journal:
            await journal.write(RECORD)
            server.stop()
            many = [RECORD.model_copy(update={"name": f"backup-{number}"}) for number in range(40)]
            asking = asyncio.gather(*[journal.write(one) for one in many], journal.read("image", PROJECT, RECORD.name))
            done, _ = await asyncio.wait([asking], timeout=2)
            assert not done, "nobody gives up at once"
            server.start()
            *written, read = await asking
            assert [one.name for one in written if one] == [one.name for one in many]
            assert read is not None


@pytest.mark.slow
async def test_a_server_that_is_silent_is_given_up_after_a_quarter_of_a_minute(server: Valkey) -> None:
    async with Journal.at(place(server.address)) as journal:
        os.kill(server.process, signal.SIGSTOP)
        try:
            async with asyncio.timeout(20):
                with pytest.raises(JournalError, match="does not answer"):
                    await journal.write(RECORD)
            async with asyncio.timeout(20):
                assert "does not answer" in await refusal(place(server.address))
        finally:
            os.kill(server.process, signal.SIGCONT)


async def test_something_of_others_under_our_names_is_damage_and_not_the_end(server: Valkey) -> None:
    async with Journal.at(place(server.address)) as journal:
        await journal.write(RECORD)
        (name,) = server.names("b2i:record:*")
        server.do("DEL", name)
        server.do("RPUSH", name, "a", "list")
        assert await journal.records("image") == []
        assert await journal.read("image", PROJECT, "backup-1") is None
        assert server.names("b2i:damaged:*") == [name.replace("record", "damaged")]
        async with hold(journal, "image", PROJECT, "x", deadline=journal.clock.now()):
            (lease,) = server.names("b2i:lease:*")
        server.do("RPUSH", lease, "a", "list")
        async with hold(journal, "image", PROJECT, "x", deadline=journal.clock.now()) as taken:
            await taken.check()


async def test_thousands_of_records_among_others_are_found_and_no_others(server: Valkey) -> None:
    async with Journal.at(place(f"{server.address}?prefix=a")) as one, Journal.at(place(f"{server.address}?prefix=b")) as other:
        many = [one.write(RECORD.model_copy(update={"name": f"backup-{number}"})) for number in range(1200)]
        await asyncio.gather(*many)
        await other.write(RECORD)
        found = await one.records("image")
        assert {record.name for record in found} == {f"backup-{number}" for number in range(1200)}
        assert len(found) == 1200
        assert len(await other.records("image")) == 1
        assert await one.records("imag*") == []


# -- on the way there ---------------------------------------------------------------------------------------------------


class Line:
    """A line to the server, which can lose the answer to a command after the server has carried it out."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = ""
        self.lose = b""
        self.lost = 0

    @asynccontextmanager
    async def laid(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Line"]:
        async with await asyncio.start_server(self._carry, "127.0.0.1", 0, ssl=tls) as door:
            self.address = f"127.0.0.1:{door.sockets[0].getsockname()[1]}"
            yield self

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        losing = False

        async def forth() -> None:
            nonlocal losing
            while asked := await reader.read(65536):
                losing = losing or bool(self.lose and self.lose in asked)
                back.write(asked)

        sending = asyncio.create_task(forth())
        with suppress(ConnectionError):
            while answer := await there.read(65536):
                if losing:
                    self.lose, self.lost = b"", self.lost + 1
                    break
                writer.write(answer)
        sending.cancel()
        writer.close()
        back.close()


async def test_a_taker_whose_answer_was_lost_knows_its_own_lease_again(server: Valkey) -> None:
    async with Line(server.port).laid() as line, Journal.at(place(f"redis://{line.address}")) as journal:
        line.lose = b"INCR"  # stands in the script that takes
        async with hold(journal, "image", PROJECT, "x", deadline=journal.clock.now()) as lease:
            assert line.lost == 1
            line.lose = b"PEXPIRE"
            await lease.check()
            assert line.lost == 2
            assert len(server.names("b2i:lease:*")) == 1
            line.lose = b"'DEL'"
        assert line.lost == 3
        assert server.names("b2i:lease:*") == []


async def test_what_is_done_twice_because_an_answer_was_lost_is_as_if_done_once(server: Valkey) -> None:
    async with Line(server.port).laid() as line, Journal.at(place(f"redis://{line.address}")) as journal:
        line.lose = b"\r\nSET\r\n"
        written = await journal.write(RECORD)
        line.lose = b"RENAME"
        server.do("SET", f"b2i:record:{RECORD.key}", "{")
        assert await journal.read("image", PROJECT, "backup-1") is None
        assert line.lost == 2
        assert server.names("b2i:damaged:*")
        assert await journal.write(written)


async def test_a_lease_ends_by_the_servers_clock_and_each_renewal_begins_it_anew(server: Valkey) -> None:
    async with (
        Journal.at(place(server.address)) as journal,
        hold(journal, "image", PROJECT, "x", deadline=journal.clock.now(), seconds=60) as lease,
    ):
        (name,) = server.names("b2i:lease:*")
        assert 50_000 < server.do("PTTL", name) <= 60_000
        server.do("PEXPIRE", name, 5_000)
        await lease.check()
        assert 50_000 < server.do("PTTL", name) <= 60_000
        server.do("DEL", name)  # as if it had ended
        with pytest.raises(StillRunning):
            await lease.check()
        assert server.names("b2i:lease:*") == []


async def test_of_two_takers_at_the_same_instant_one_holds_it_and_fences_rise(server: Valkey) -> None:
    async with Journal.at(place(server.address)) as one, Journal.at(place(server.address)) as other:
        fences: list[int] = []
        for _ in range(20):

            async def take(journal: Journal) -> None:
                deadline = journal.clock.now() + timedelta(seconds=10)
                async with hold(journal, "image", PROJECT, "x", deadline=deadline, seconds=0.3) as lease:
                    assert len(server.names("b2i:lease:*")) == 1
                    fences.append(lease.fence)

            await asyncio.gather(take(one), take(other))
        assert fences == sorted(set(fences))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_a_certificate_is_checked(server: Valkey, authority: trustme.CA, tmp_path: Path) -> None:
    known = tmp_path / "own.pem"
    authority.cert_pem.write_to_path(str(known))
    for name, trusted in (("127.0.0.1", True), ("elsewhere.example", False)):
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(tls)
        async with Line(server.port).laid(tls) as line:
            assert "certificate is not trusted" in await refusal(place(f"rediss://{line.address}"))
            address = place(f"valkeys://{line.address}?ca={known}")
            if trusted:
                async with Journal.at(address) as journal:
                    assert await journal.write(RECORD)
            else:
                assert "certificate is not trusted" in await refusal(address)
    assert "No such file" in await refusal(place(f"rediss://127.0.0.1:{server.port}?ca={tmp_path}/none.pem"))


async def test_somebody_who_is_no_valkey_is_told_as_that() -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as web:
        port = web.sockets[0].getsockname()[1]
        assert await refusal(place(f"redis://127.0.0.1:{port}"))


def test_without_the_package_it_is_told_what_to_install() -> None:
    """In a process of its own, where redis cannot be imported."""
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from backup_to_image.errors import UsageError\n"
        "from backup_to_image.journal import Journal\n"
        "from backup_to_image.model.shared_place import SharedPlace\n"
        "Journal.at('folder')\n"
        "try: Journal.at(SharedPlace.parse('redis://127.0.0.1'))\n"
        "except UsageError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "backup-to-image[redis]" in done.stdout


def test_a_port_is_free_to_be_refused() -> None:
    """The tests above count on nobody listening there."""
    with socket.socket() as once, pytest.raises(ConnectionRefusedError):
        once.connect(("127.0.0.1", 1))
