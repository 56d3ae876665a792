"""Guests: what answers inside a launched server, on real loopback sockets, so that a probe of it is a real probe.

A guest owns its sockets from the launch on (bound, so that no other emulator on this machine is given the same address) and
listens only while its system is up; before that a connection is refused, as by a server that still boots. Where 127.0.0.1 is the
only loopback address (macOS), or with the switch `guest_addresses` set to `shared`, every guest lives on 127.0.0.1, each of its
ports on a free one. Which is which stands in the server's metadata as `emulator.ports`, for example `2222=50321,8080=50322`.

Nothing here runs by itself: `settle` looks at the servers and opens or closes ports in the running loop, before and after every
request and with every beat of a serving emulator; connections are served by protocols, not by tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .wire import Doc

if TYPE_CHECKING:
    from .cloud import Cloud

__all__ = ["DEAD", "HEALTHY", "PROFILES", "SHARED_HOST", "Guests", "Profile", "is_up", "profile_named"]

_LOG = logging.getLogger(__name__)

SHARED_HOST = "127.0.0.1"
SSH, HTTP, SMTP = 2222, 8080, 2525
_GREETING = b"220 mail ready\r\n"
_BANNER = b"SSH-2.0-OpenSSH_9.6\r\n"
_LONGEST_REQUEST = 65536

# So many guests listen at most: each takes two open files, of which a process often has 1,024, and the region itself needs some.
_MOST_GUESTS = 250


@dataclass(frozen=True, slots=True)
class Profile:
    """What a guest does once its server is ACTIVE: whether it boots, which ports it opens, whether it calls itself healthy."""

    boots: bool = True
    ports: tuple[int, ...] = (SSH, HTTP)
    health: int = 200
    holds: tuple[int, ...] = ()
    """Ports that nobody answers on, kept so that no neighbour's guest answers there in its name."""


# A profile goes with the disks: a restored system behaves like the one that was backed up.
HEALTHY, DEAD = "healthy", "dead"
PROFILES: dict[str, Profile] = {
    HEALTHY: Profile(),
    "web": Profile(),
    "app": Profile(),
    "database": Profile(ports=(SSH,)),
    "ssh-only": Profile(ports=(SSH,)),  # the application never came up
    "mail": Profile(ports=(SSH, HTTP, SMTP)),  # a mail server beside the application, which speaks first
    "sick": Profile(health=503),  # it came up and says that it is not well
    DEAD: Profile(boots=False, ports=(), holds=(SSH, HTTP)),  # maintenance mode: ACTIVE for the cloud, silent for everybody else
}


@dataclass(slots=True)
class _Room:
    """One guest: its addresses, its bound sockets by address and port, and who is talking to it."""

    server_id: str
    name: str
    profile: Profile
    hosts: list[str]
    ports: dict[int, int]  # the guest's own port -> the real one
    bound: dict[tuple[str, int], socket.socket] = field(default_factory=dict[tuple[str, int], socket.socket])
    listening: list[asyncio.Server] = field(default_factory=list[asyncio.Server])
    talks: set[asyncio.Transport] = field(default_factory=set[asyncio.Transport])
    open: bool = False

    def let_go(self) -> None:
        """Stop listening, hang up on whoever is connected, give the ports back."""
        for hang_up in (*(server.close for server in self.listening), *(talk.abort for talk in self.talks)):
            with contextlib.suppress(RuntimeError):  # the loop that served them is closed, and its connections with it
                hang_up()
        for sock in self.bound.values():
            sock.close()
        self.listening, self.bound = [], {}
        self.talks.clear()

    def leave(self, host: str) -> None:
        """Give one address back, before anything listens there."""
        self.hosts.remove(host)
        for place in [place for place in self.bound if place[0] == host]:
            self.bound.pop(place).close()


def profile_named(name: str | None) -> Profile:
    """The profile of that name; a server without one is healthy."""
    return PROFILES[name or HEALTHY]


def is_up(server: Doc) -> bool:
    """Whether the system inside a server is up: ACTIVE, booted, and nothing being done to it."""
    return (
        server["status"] == "ACTIVE"
        and not server.get("booting")
        and not server.get("hidden")
        and server.get("task_state") is None
    )


class Guests:
    """All guests of one region: of every launched server, and of seeded ones that the seed marks with `listens`."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._rooms: dict[str, _Room] = {}
        self._returned = False
        self._own_addresses: bool | None = None

    @property
    def shared(self) -> bool:
        """Whether all guests live on 127.0.0.1: by the switch, or because this system has no other loopback address."""
        if self._cloud.switches["guest_addresses"] == "shared":
            return True
        if self._own_addresses is None:
            try:
                _bind("127.255.255.253", 0, again=False).close()
            except OSError:
                self._own_addresses = False
            else:
                self._own_addresses = True
        return not self._own_addresses

    def move_in(
        self, server_id: str, name: str, profile: str | None, addresses: Iterable[str], ports: dict[int, int] | None = None
    ) -> str:
        """Give a guest the first of these addresses that nobody on this machine holds; its ports are its own from now on.

        `ports` are the real ports of an earlier life (a restart keeps them where it can). Returns the address; the first of them
        when others hold all of them, in which case the guest stays silent: the neighbour's guest would answer in its name.
        """
        kind = profile_named(profile)
        first = None
        crowded = len(self._rooms) >= _MOST_GUESTS
        for address in addresses:
            first = first or address
            if crowded:
                break
            room = _Room(server_id, name, kind, [SHARED_HOST if self.shared else address], dict(ports or {}))
            if _occupy(room, again=ports is not None):
                self._rooms[server_id] = room
                return address
            room.let_go()
        if first is None:
            raise ValueError("a guest needs an address to choose from")
        why = f"{_MOST_GUESTS} guests listen already" if crowded else "others on this machine hold every address"
        _LOG.warning("%s: the ports of this guest stay closed: %s", name, why)
        self._rooms[server_id] = _Room(server_id, name, Profile(boots=kind.boots, ports=()), [first], {})
        return first

    def also_at(self, server_id: str, address: str, *, again: bool = False) -> bool:
        """Let the guest answer at one more address too: that of its EIP. False where others on this machine hold it.

        `again`: the address was in use a moment ago, and connections of then may linger.
        """
        room = self._rooms.get(server_id)
        if room is None or self.shared or address in room.hosts:
            return True
        room.hosts.append(address)
        if _occupy(room, again=again):
            return True
        room.leave(address)
        return False

    def furnish(self, server_id: str, profile: str) -> None:
        """Another system runs in the guest from now on; its addresses stay."""
        room = self._rooms.get(server_id)
        if room is not None:
            room.let_go()
            room.profile, room.open = profile_named(profile), False
            _occupy(room, again=True)

    def ports(self, server_id: str) -> dict[int, int]:
        """The guest's ports and the real ones behind them (the same, unless guests share one address)."""
        room = self._rooms.get(server_id)
        return dict(room.ports) if room else {}

    def move_out(self, server_id: str) -> None:
        """The server is gone: close everything and give the address back, at once."""
        room = self._rooms.pop(server_id, None)
        if room is not None:
            room.let_go()

    async def settle(self) -> int:
        """Open the ports of guests that are up by now, close those of the others; returns how many guests changed."""
        if not self._returned:
            self._return()
        changed = 0
        for server_id, room in tuple(self._rooms.items()):
            server = self._cloud.get("server", server_id)
            if server is None:
                self.move_out(server_id)
            elif is_up(server) != room.open:
                room.open = not room.open
                changed += 1
                if room.open:
                    await _listen(room)
                else:
                    room.let_go()
                    _occupy(room, again=True)
        return changed

    def _return(self) -> None:
        """After a (re)start: the guests of all servers that have one, at the addresses that they had."""
        self._returned = True
        for server in self._cloud.walk("server"):
            if server.get("listens") and server["id"] not in self._rooms:
                kept: dict[str, int] = server.get("ports") or {}
                ports = {int(port): real for port, real in kept.items()} if self.shared else {}
                self.move_in(server["id"], server["name"], server.get("profile"), [server["nics"][0]["ip"]], ports)
                for publicip in self._cloud.walk("publicip", server["project"], port_id=server["nics"][0]["port_id"]):
                    self.also_at(server["id"], publicip["address"], again=True)

    def close(self) -> None:
        """Close every socket. The guests of running servers come back with the next emulator on the same state."""
        for server_id in tuple(self._rooms):
            self.move_out(server_id)
        self._returned = False


def _occupy(room: _Room, *, again: bool) -> bool:
    """Bind what is not bound yet; False where another process holds one of the ports."""
    shared = room.hosts == [SHARED_HOST]
    for host in room.hosts:
        for port in (*room.profile.ports, *(() if shared else room.profile.holds)):
            if (host, port) in room.bound:
                continue
            try:
                sock = _bind(host, room.ports.get(port, 0 if shared else port), again=again)
            except OSError:
                if not (shared and port in room.ports):
                    return False
                sock = _bind(host, 0, again=False)  # somebody took it while the emulator was down
            room.bound[host, port] = sock
            if port in room.profile.ports:
                room.ports[port] = int(sock.getsockname()[1])
    return True


async def _listen(room: _Room) -> None:
    loop = asyncio.get_running_loop()
    _occupy(room, again=True)
    for (host, port), sock in tuple(room.bound.items()):
        if port not in room.profile.ports:
            continue
        if room.bound.get((host, port)) is not sock:
            return  # stopped while the port before this one opened
        talk = {SSH: _Ssh, SMTP: _Smtp}.get(port, _Http)
        server = await loop.create_server(lambda talk=talk: talk(room), sock=sock, start_serving=False)
        room.listening.append(server)  # before the loop is left: a stop that comes now must find it
        try:
            await server.start_serving()
        except OSError as reason:  # another emulator gave the address away while this one was down
            _LOG.warning("%s: port %s on %s stays closed: %s", room.name, port, host, reason.strerror)
            room.listening.remove(server)
            room.bound.pop((host, port), None)
            server.close()


def _bind(host: str, port: int, *, again: bool) -> socket.socket:
    """A bound socket. First time exclusively; `again` (after a stop) despite connections of before that still linger."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if again:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
        # Inherited by its connections: those that linger after a stop do not keep the port from the guest's next start.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        sock.close()
        raise
    return sock


class _Talk(asyncio.Protocol):
    """A connection to a guest, known to its room so that a stop hangs up."""

    def __init__(self, room: _Room) -> None:
        self.room = room
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self.transport = transport
            self.room.talks.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self.transport is not None:
            self.room.talks.discard(self.transport)

    def say(self, data: bytes, *, last: bool = False) -> None:
        if self.transport is not None:
            with contextlib.suppress(OSError):
                self.transport.write(data)
            if last:
                self.transport.close()


class _Ssh(_Talk):
    """Says who it is, as RFC 4253 wants it, and hangs up on whoever wants to log in: there is no shell behind it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.say(_BANNER)

    def data_received(self, data: bytes) -> None:
        if data:
            self.say(b"", last=True)


class _Smtp(_Talk):
    """Greets first, as RFC 5321 wants it, and hangs up on whoever has something to say."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.say(_GREETING)

    def data_received(self, data: bytes) -> None:
        if data:
            self.say(b"221 bye\r\n", last=True)


class _Http(_Talk):
    """A small web application with a health page."""

    def __init__(self, room: _Room) -> None:
        super().__init__(room)
        self.heard = b""

    def data_received(self, data: bytes) -> None:
        self.heard += data
        if b"\r\n\r\n" in self.heard or len(self.heard) > _LONGEST_REQUEST:
            method, _, rest = self.heard.partition(b" ")
            status, body = self._page(rest.split(b" ", 1)[0].partition(b"?")[0])
            words = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}[status]
            head = (
                f"HTTP/1.1 {status} {words}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                f"Server: {self.room.name}\r\nConnection: close\r\n\r\n"
            )
            self.say(head.encode() + (b"" if method == b"HEAD" else body), last=True)

    def _page(self, path: bytes) -> tuple[int, bytes]:
        room = self.room
        if path == b"/health":
            status = room.profile.health
            told = {"status": "ok" if status == 200 else "failing", "server": room.server_id, "name": room.name}
        elif path == b"/":
            status, told = 200, {"server": room.server_id, "name": room.name}
        else:
            status, told = 404, {"error": "no such page"}
        return status, json.dumps(told).encode()
