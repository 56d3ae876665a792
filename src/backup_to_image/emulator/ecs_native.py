"""Native compute calls beside the contract, read only: what OpenStack's clients ask for before and while they list servers.

Nothing of this project calls them; they are here so that `openstack server list` shows the same servers as the ECS API.
"""

from __future__ import annotations

from collections.abc import Callable

from .cloud import Cloud
from .ecs_view import find, server_body, visible
from .paging import after_marker
from .wire import Answer, Doc, Refusal

__all__ = ["DISCOVERY", "HELPERS"]

_PAGE = 1000


def _version(cloud: Cloud, origin: str) -> Doc:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": "2.60",
        "min_version": "2.1",
        "updated": "2013-07-23T11:33:21Z",
        "links": [{"rel": "self", "href": f"{origin}:{cloud.port('ecs')}/v2.1/"}],
    }


def _servers(cloud: Cloud, project: str, values: dict[str, str], query: dict[str, str]) -> Answer:
    del values
    wanted = query.get("name", "")
    found = [
        server for server in cloud.walk("server", project, newest_first=True) if visible(server) and wanted in server["name"]
    ]
    limit = query.get("limit", "")
    page = after_marker(found, query.get("marker"), int(limit) if limit.isdigit() else _PAGE)
    if page is None:
        raise Refusal(400, "Ecs.0005", "marker is not the id of a server")
    return Answer(200, {"servers": [_native(cloud, server) for server in page]})


def _server(cloud: Cloud, project: str, values: dict[str, str], query: dict[str, str]) -> Answer:
    del query
    return Answer(200, {"server": _native(cloud, find(cloud, values["server_id"], project))})


def _native(cloud: Cloud, server: Doc) -> Doc:
    """The server as Nova shows it: networks by name, the flavor embedded, tags without values."""
    body = server_body(cloud, server)
    vpc = cloud.get("vpc", server["vpc_id"])
    body["addresses"] = {vpc["name"] if vpc else server["vpc_id"]: body["addresses"][server["vpc_id"]]}
    flavor = body["flavor"]
    body["flavor"] = {
        "id": flavor["id"],
        "original_name": flavor["id"],
        "vcpus": int(flavor["vcpus"]),
        "ram": int(flavor["ram"]),
        "disk": 0,
        "ephemeral": 0,
        "swap": 0,
        "extra_specs": {},
    }
    return body


def _flavors(cloud: Cloud, project: str, values: dict[str, str], query: dict[str, str]) -> Answer:
    del project, values
    found = [] if query.get("marker") else list(cloud.walk("flavor"))
    flavors = [
        {
            "id": flavor["id"],
            "name": flavor["id"],
            "vcpus": flavor["vcpus"],
            "ram": flavor["ram"],
            "disk": 0,
            "swap": 0,
            "OS-FLV-EXT-DATA:ephemeral": 0,
            "os-flavor-access:is_public": True,
        }
        for flavor in found
    ]
    return Answer(200, {"flavors": flavors})


DISCOVERY: dict[str, Callable[[Cloud, str], Doc]] = {
    "/": lambda cloud, origin: {"versions": [_version(cloud, origin)]},
    "/v2.1": lambda cloud, origin: {"version": _version(cloud, origin)},
}

HELPERS = {
    "/v2.1/{project_id}/servers/detail": _servers,
    "/v2.1/{project_id}/servers": _servers,
    "/v2.1/{project_id}/servers/{server_id}": _server,
    "/v2.1/{project_id}/flavors/detail": _flavors,
    "/v2.1/{project_id}/flavors": _flavors,
}
