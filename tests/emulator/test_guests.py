"""What answers inside a launched server: real ports on loopback, open only while its system is up."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from backup_to_image.clock import FakeClock
from backup_to_image.emulator import Emulator, SeedError
from backup_to_image.emulator.serve import serve

from .region import Region, region, small_company

_EIP = {"eip": {"iptype": "5_bgp", "bandwidth": {"size": 5, "sharetype": "PER", "chargemode": "traffic"}}}


@pytest.fixture
async def cloud() -> AsyncIterator[Region]:
    async with region() as place:
        yield place


async def is_open(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


def _network_apart(second_octet: int) -> dict[str, Any]:
    """A seed with a network that no other test uses: of a common one, a neighbour may hold or take an address that is needed."""
    cidr, subnet = f"127.{second_octet}.0.0/16", f"127.{second_octet}.1.0/24"
    return small_company(networks=[{"vpc": "net", "cidr": cidr, "subnets": {"subnet": subnet}}], servers=[])


async def _address(cloud: Region, server: str) -> str:
    return cloud.private_address(await cloud.server(server))


async def _health(address: str, port: int = 8080) -> httpx.Response:
    async with httpx.AsyncClient() as real:
        return await real.get(f"http://{address}:{port}/health")


async def _console(cloud: Region, server: str, rows: int | str = -1) -> str:
    asked = {"os-getConsoleOutput": {"length": rows}}
    return (await cloud.post("ecs", f"/v2.1/{{p}}/servers/{server}/action", asked))["output"]


async def test_the_ports_open_a_boot_time_after_active_and_say_who_they_are(cloud: Region) -> None:
    server = (await cloud.launch())["serverIds"][0]
    await cloud.pass_time(60)
    address = await _address(cloud, server)
    assert address.startswith("127.10.1.")
    assert (await is_open(address, 2222), await is_open(address, 8080)) == (False, False)
    await cloud.pass_time(15)
    reader, writer = await asyncio.open_connection(address, 2222)
    assert (await reader.readline()).startswith(b"SSH-2.0-")
    writer.close()
    told = await _health(address)
    assert (told.status_code, told.json()["status"], told.json()["server"]) == (200, "ok", server)
    async with httpx.AsyncClient() as real:
        assert (await real.get(f"http://{address}:8080/")).status_code == 200
        assert (await real.get(f"http://{address}:8080/nowhere")).status_code == 404
        assert (await real.head(f"http://{address}:8080/health")).content == b""


async def test_any_request_notices_that_a_guest_has_booted(cloud: Region) -> None:
    server = (await cloud.launch())["serverIds"][0]
    cloud.clock.advance(74)
    address = await _address(cloud, server)
    assert await is_open(address, 8080) is False
    cloud.clock.advance(1)
    await cloud.publicips()
    assert await is_open(address, 8080)


async def test_stopping_closes_the_ports_and_hangs_up_and_starting_opens_them_again(cloud: Region) -> None:
    server = await cloud.launched()
    address = await _address(cloud, server)
    reader, writer = await asyncio.open_connection(address, 2222)
    await reader.readline()
    await cloud.act("os-stop", server)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    writer.close()
    assert await is_open(address, 2222) is False
    await cloud.pass_time(15)
    await cloud.act("os-start", server)
    await cloud.pass_time(10)
    assert await is_open(address, 2222) is False
    await cloud.pass_time(15)
    assert await is_open(address, 2222)
    await cloud.act("reboot", server, type="SOFT")
    assert await is_open(address, 2222) is False


async def test_deleting_a_server_closes_its_ports_for_good(cloud: Region) -> None:
    server = await cloud.launched()
    address = await _address(cloud, server)
    await cloud.delete_server(server)
    assert await is_open(address, 8080) is False
    await cloud.pass_time(300)
    assert await is_open(address, 8080) is False


async def test_an_eip_leads_to_the_guest_too(cloud: Region) -> None:
    server = await cloud.launched(publicip=_EIP)
    (publicip,) = await cloud.publicips()
    assert (await _health(publicip["public_ip_address"])).json()["server"] == server


async def test_the_console_shows_the_boot_and_ends_with_the_login_prompt(cloud: Region) -> None:
    server = (await cloud.launch(name="Drill_web01"))["serverIds"][0]
    await cloud.pass_time(30)
    assert await _console(cloud, server) == ""
    await cloud.pass_time(30)
    booting = await _console(cloud, server)
    assert "Linux version" in booting
    assert "login:" not in booting
    await cloud.pass_time(15)
    assert (await _console(cloud, server, 5)).endswith("\ndrill-web01 login: ")
    assert len((await _console(cloud, server, "2")).split("\n")) == 2
    await cloud.act("os-stop", server)
    await cloud.pass_time(15)
    assert "Power down" in await _console(cloud, server)


async def test_a_guest_that_never_boots_is_active_and_silent_and_its_console_says_why(cloud: Region) -> None:
    cloud.emulator.faults.arm("guest-silent")
    server = await cloud.launched()
    assert (await cloud.server(server))["status"] == "ACTIVE"
    assert await is_open(await _address(cloud, server), 8080) is False
    assert "emergency mode" in await _console(cloud, server)
    assert "login:" not in await _console(cloud, server)


async def test_nobody_answers_in_the_name_of_a_guest_that_never_boots(cloud: Region) -> None:
    """Nothing listens there, and yet a neighbour's guest that is given this very address stays silent."""
    cloud.emulator.faults.arm("guest-silent")
    silent = await _address(cloud, await cloud.launched())
    async with region() as neighbour:
        await neighbour.launched(nics=[{"subnet_id": neighbour.account["subnet"], "ip_address": silent}])
        assert not await is_open(silent, 8080)


async def test_a_guest_can_be_sick_or_lack_its_application(cloud: Region) -> None:
    cloud.emulator.faults.arm("guest-silent", profile="sick")
    sick = await _health(await _address(cloud, await cloud.launched(name="sick")))
    assert (sick.status_code, sick.json()["status"]) == (503, "failing")
    cloud.emulator.faults.arm("guest-silent", profile="ssh-only")
    address = await _address(cloud, await cloud.launched(name="bare"))
    assert (await is_open(address, 2222), await is_open(address, 8080)) == (True, False)


async def test_a_restored_system_behaves_like_the_one_that_was_backed_up(cloud: Region) -> None:
    database = cloud.account["backups"]["available"][2]
    image = await cloud.whole_image(database)
    address = await _address(cloud, await cloud.launched(imageRef=image, flavorRef="m3.xlarge.8"))
    assert (await is_open(address, 2222), await is_open(address, 8080)) == (True, False)


async def test_servers_of_the_seed_open_no_ports_unless_the_seed_says_so(cloud: Region) -> None:
    web = (await cloud.get("ecs", "/v1/{p}/cloudservers/detail", name="shop-web-01"))["servers"][0]
    await cloud.emulator.settle()
    assert await is_open(cloud.private_address(web), 8080) is False
    marked = {"name": "one", "flavor": "s3.large.2", "disks": [20], "network": "subnet", "listens": True}
    async with region(seed=small_company(servers=[marked])) as place:
        one = (await place.get("ecs", "/v1/{p}/cloudservers/detail"))["servers"][0]
        assert (await _health(place.private_address(one))).json()["name"] == "one"


async def test_after_a_restart_on_the_same_state_the_guests_are_back(tmp_path: Path) -> None:
    clock, state = FakeClock(), tmp_path / "cloud.sqlite"
    async with region(clock=clock, state=state, seed=_network_apart(66)) as before:
        server = await before.launched(publicip=_EIP)
        address = await _address(before, server)
    assert await is_open(address, 8080) is False
    async with region(clock=clock, state=state) as after:
        assert (await _health(address)).json()["server"] == server
        (publicip,) = await after.publicips()
        assert (await _health(publicip["public_ip_address"])).json()["server"] == server


async def test_two_emulators_side_by_side_never_give_out_the_same_address() -> None:
    async with region() as one, region() as other:
        subnet = one.account["subnet"]
        addresses: list[str] = []
        for place in (one, other):
            servers = (await place.launch(count=40, flavorRef="s3.medium.1"))["serverIds"]
            await place.pass_time(60)
            await place.pass_time(15)
            addresses += [await _address(place, server) for server in servers]
        assert len(set(addresses)) == 80
        # A fixed address that a neighbour's guest holds is given all the same, and stays silent for this one.
        theirs = addresses[0]
        silent = await other.launched(name="second", nics=[{"subnet_id": subnet, "ip_address": theirs}])
        assert (await _health(theirs)).json()["server"] != silent


async def test_an_eip_at_which_a_neighbours_guest_answers_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with region() as one, region() as other:
        # Chance leads both to the same address.
        monkeypatch.setattr("backup_to_image.emulator.eip.uuid", SimpleNamespace(uuid4=lambda: uuid.UUID(int=4711)))
        for place in (one, other):
            server = await place.launched(publicip=_EIP)
            (publicip,) = await place.publicips()
            assert (await _health(publicip["public_ip_address"])).json()["server"] == server


async def test_guests_that_share_one_address_tell_their_ports_in_the_servers_metadata(tmp_path: Path) -> None:
    clock, state, shared = FakeClock(), tmp_path / "cloud.sqlite", {"guest_addresses": "shared"}

    async def told(cloud: Region, server: str) -> tuple[str, dict[int, int]]:
        seen: dict[str, Any] = await cloud.server(server)
        pairs = (pair.split("=") for pair in seen["metadata"]["emulator.ports"].split(","))
        return cloud.private_address(seen), {int(port): int(real) for port, real in pairs}

    async with region(clock=clock, state=state, switches=shared) as cloud:
        first, second = await cloud.launched(name="first"), await cloud.launched(name="second")
        address, ports = await told(cloud, first)
        assert (address, set(ports)) == ("127.0.0.1", {2222, 8080})
        assert (await _health(address, ports[8080])).json()["server"] == first
        reader, writer = await asyncio.open_connection(address, ports[2222])
        assert (await reader.readline()).startswith(b"SSH-2.0-")
        writer.close()
        address, others = await told(cloud, second)
        assert (await _health(address, others[8080])).json()["server"] == second
    async with region(clock=clock, state=state, switches=shared) as cloud:
        address, ports = await told(cloud, first)
        assert (await _health(address, ports[8080])).json()["server"] == first


async def test_closing_the_emulator_closes_every_port() -> None:
    async with region() as cloud:
        address = await _address(cloud, await cloud.launched())
        assert await is_open(address, 8080)
    assert await is_open(address, 8080) is False


async def test_on_a_clock_that_stands_still_nothing_runs_in_the_background(cloud: Region) -> None:
    before = len(asyncio.all_tasks())
    address = await _address(cloud, await cloud.launched())
    assert await is_open(address, 8080)
    assert len(asyncio.all_tasks()) == before


async def test_an_emulator_that_was_only_closed_leaves_its_ports_to_the_next(tmp_path: Path) -> None:
    clock, state = FakeClock(), tmp_path / "cloud.sqlite"
    async with region(clock=clock, state=state, seed=_network_apart(63)) as cloud:
        server = await cloud.launched()
        address = await _address(cloud, server)
        cloud.emulator.close()
        async with region(clock=clock, state=state):
            assert (await _health(address)).json()["server"] == server


async def test_on_sockets_a_guest_opens_without_anybody_asking_the_cloud(tmp_path: Path) -> None:
    emulator = Emulator(first_port=0, speed=300, state=tmp_path / "cloud.sqlite", seed=_network_apart(65))
    listening: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(emulator, ready=listening.set_result))
    account = await asyncio.wait_for(listening, 20)
    async with httpx.AsyncClient() as client:
        place = Region(emulator, FakeClock(), client)
        await place.log_in(account)
        await place.launch(nics=[{"subnet_id": account["subnet"], "ip_address": "127.65.1.22"}])
    async with asyncio.timeout(20):
        while not await is_open("127.65.1.22", 8080):  # noqa: ASYNC110 - another machine's port has no event to wait for
            await asyncio.sleep(0.02)  # real time is what is tested: the ticker, and nobody else, opens the port
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert await is_open("127.65.1.22", 8080) is False


async def test_a_region_crowded_with_servers_still_answers() -> None:
    plenty = dict.fromkeys(("instances", "cores", "ram", "volumes", "gigabytes"), -1)
    networks = [{"vpc": "net", "cidr": "127.62.0.0/16", "subnets": {"subnet": "127.62.0.0/20"}}]
    async with region(seed=small_company(quota=plenty, networks=networks)) as cloud:
        for number in range(6):
            await cloud.launch(count=100, name=f"n{number}")
        await cloud.pass_time(60)
        await cloud.pass_time(15)
        assert (await cloud.get("ecs", "/v1/{p}/cloudservers/detail", status="ACTIVE", limit=1))["count"] == 601
        last = await cloud.launched(name="one-more")
        assert await is_open(await _address(cloud, last), 8080) is False


async def test_an_address_given_to_a_neighbour_while_the_emulator_was_down_stays_the_neighbours(tmp_path: Path) -> None:
    clock, state = FakeClock(), tmp_path / "cloud.sqlite"
    async with region(clock=clock, state=state, seed=_network_apart(64)) as cloud:
        address = await _address(cloud, await cloud.launched())
    async with region(seed=_network_apart(64)) as neighbour:
        nic = {"subnet_id": neighbour.account["subnet"], "ip_address": address}
        theirs = await neighbour.launched(nics=[nic])
        async with region(clock=clock, state=state) as cloud:
            assert (await cloud.get("ecs", "/v1/{p}/cloudservers/detail", name="drill-web01"))["servers"][0]["status"] == "ACTIVE"
            assert (await _health(address)).json()["server"] == theirs


async def test_a_profile_that_does_not_exist_is_a_mistake_in_the_seed() -> None:
    odd = {"name": "one", "flavor": "s3.large.2", "disks": [20], "network": "subnet", "profile": "helthy"}
    with pytest.raises(SeedError, match=r"did you mean 'healthy'\?"):
        Emulator(seed=small_company(servers=[odd]))


async def test_a_stop_that_comes_while_the_ports_open_wins(cloud: Region) -> None:
    server = (await cloud.launch())["serverIds"][0]
    await cloud.pass_time(60)
    address = await _address(cloud, server)
    cloud.clock.advance(15)
    beat = asyncio.create_task(cloud.emulator.settle())
    await asyncio.sleep(0)  # the beat is in the middle of it
    await cloud.act("os-stop", server)
    await beat
    assert (await is_open(address, 2222), await is_open(address, 8080)) == (False, False)
    await cloud.pass_time(15)
    await cloud.act("os-start", server)
    await cloud.pass_time(10)
    await cloud.pass_time(15)
    assert (await is_open(address, 2222), await is_open(address, 8080)) == (True, True)


async def test_another_os_runs_what_its_image_holds(cloud: Region) -> None:
    cloud.emulator.faults.arm("guest-silent")
    server = await cloud.launched()
    address = await _address(cloud, server)
    await cloud.act("os-stop", server)
    await cloud.pass_time(15)
    order = {"os-change": {"imageid": cloud.account["image_public"]}}
    await cloud.post("ecs", f"/v2/{{p}}/cloudservers/{server}/changeos", order)
    await cloud.pass_time(90)
    assert await is_open(address, 8080) is False
    await cloud.pass_time(15)
    assert (await _health(address)).json()["server"] == server
    assert (await _console(cloud, server)).endswith("login: ")
