"""Elastic IPs: found after a drill, released when nothing is bound to them (BEHAVIOUR.md 11, teardown)."""

from __future__ import annotations

import ipaddress
import itertools
import uuid
from collections.abc import Callable

from .cloud import Cloud
from .paging import after_marker
from .services import Service
from .vpc import malformed
from .wire import Answer, Call, Doc, Refusal

__all__ = ["SERVICE", "allocate", "bind", "release", "unbind"]

_PAGE = 2000

# Public addresses of this region. They too are loopback: nothing here ever contacts anything else.
_POOL = ipaddress.ip_network("127.254.0.0/16")
_MOST_TRIED = 16

# States in which an address is between two others.
_BUSY = {"BINDING", "BIND_ERROR", "PENDING_DELETE", "PENDING_CREATE", "PENDING_UPDATE"}


def list_public_ips(cloud: Cloud, call: Call) -> Answer:
    """listPublicIps: the project's addresses; DOWN ones are bound to nothing and still billed."""
    page = after_marker(list(cloud.walk("publicip", call.project)), call.query.get("marker"), call.query.get("limit", _PAGE))
    if page is None:
        raise Refusal(400, "VPC.0501", "marker is not the id of an entry")
    return Answer(200, {"publicips": [_body(publicip) for publicip in page]})


def delete_public_ip(cloud: Cloud, call: Call) -> Answer:
    """deletePublicIp: release an address that nothing is bound to."""
    publicip = cloud.own("publicip", call.path["publicip_id"], call.project)
    if publicip is None:
        raise Refusal(404, "VPC.0504", "floating IP could not be found")
    if publicip["status"] == "ELB":
        raise Refusal(500, "VPC.0516", "the EIP is in use by a load balancer")
    if publicip["status"] in _BUSY:
        raise Refusal(409, "VPC.0512", f"resource status {publicip['status']} is busy")
    if publicip["port_id"]:
        raise Refusal(409, "VPC.0517", "the EIP is still bound")
    cloud.remove("publicip", publicip["id"])
    return Answer(204)


def _body(publicip: Doc) -> Doc:
    bandwidth: Doc = publicip["bandwidth"]
    body: Doc = {
        "id": publicip["id"],
        "status": publicip["status"],
        "type": publicip.get("type", "5_bgp"),
        "public_ip_address": publicip["address"],
        "tenant_id": publicip["project"],
        "create_time": publicip["created_at"][:19].replace("T", " "),
        "bandwidth_id": bandwidth.get("id", publicip["id"]),
        "bandwidth_size": bandwidth.get("size", 1),
        "bandwidth_share_type": bandwidth.get("sharetype", "PER"),
    }
    if publicip["port_id"]:  # the page leaves both out of an address that is bound to nothing
        body["private_ip_address"] = publicip.get("private_address")
        body["port_id"] = publicip["port_id"]
    return body


def allocate(cloud: Cloud, project: str, order: Doc, *, answers_at: Callable[[str], bool]) -> Doc:
    """A new address for a server that is being made, from `publicip.eip` of its order.

    `answers_at` lets its guest answer there, or says that somebody else on this machine does: then the next one is tried. Where
    all are somebody else's, the address stays silent.
    """
    taken = {publicip["address"] for publicip in cloud.walk("publicip")}
    identity = uuid.uuid4()
    # Far apart from those of other emulators on this machine, whose guests may listen on theirs.
    turns = (str(_POOL[1 + (identity.int + turn) % (_POOL.num_addresses - 2)]) for turn in itertools.count())
    free = list(itertools.islice((host for host in turns if host not in taken), _MOST_TRIED))
    address = next((host for host in free if answers_at(host)), free[0])
    return cloud.new(
        "publicip",
        {
            "id": str(identity),
            "project": project,
            "address": address,
            "status": "DOWN",
            "port_id": None,
            "type": order["iptype"],
            "bandwidth": dict(order["bandwidth"]),
        },
    )


def bind(cloud: Cloud, publicip: Doc, nic: Doc, *, delete_on_termination: bool) -> None:
    """Bind an address to a server's first NIC."""
    publicip.update(
        status="ACTIVE", port_id=nic["port_id"], private_address=nic["ip"], delete_on_termination=delete_on_termination
    )
    cloud.save("publicip", publicip)


def unbind(cloud: Cloud, publicip: Doc) -> None:
    """Bound to nothing any more, and billed on."""
    publicip.update(status="DOWN", port_id=None, private_address=None)
    cloud.save("publicip", publicip)


def release(cloud: Cloud, publicip: Doc) -> None:
    """Let the address go."""
    cloud.remove("publicip", publicip["id"])


SERVICE = Service(name="eip", routes={"listPublicIps": list_public_ips, "deletePublicIp": delete_public_ip}, malformed=malformed)
