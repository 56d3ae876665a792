"""What a client has to know to use the region: one JSON object, `GET /_emulator/account`."""

from __future__ import annotations

from .cloud import Cloud
from .routing import PORT_ORDER
from .wire import Doc

__all__ = ["account"]


def account(cloud: Cloud, host: str = "127.0.0.1") -> Doc:
    """Log-in, endpoints and the ids worth knowing. The secrets in it open nothing but this emulator."""
    kept = cloud.get("account", "account")
    if kept is None:
        raise ValueError("the region has no account: its seed names none")
    user, recipient = cloud.get("user", kept["user_id"]), cloud.get("user", kept["recipient_id"])
    project = cloud.get("project", kept["project_id"])
    if user is None or recipient is None or project is None:
        raise ValueError("the account of the seed names a user or project that is not there")
    return {
        "auth_url": f"http://{host}:{cloud.port('iam')}/v3",
        "region": project["region"],
        **_login(cloud, user, kept["project_id"]),
        "project_name": project["name"],
        "endpoints": {service: f"http://{host}:{cloud.port(service)}" for service in PORT_ORDER},
        **kept["known"],
        "recipient": {**_login(cloud, recipient, kept["recipient_project_id"]), "vault": kept["recipient_vault"]},
        "speed": cloud.speed,
    }


def _login(cloud: Cloud, user: Doc, project_id: str) -> Doc:
    domain = cloud.get("domain", user["domain_id"]) or {}
    return {
        "user": user["name"],
        "password": user["password"],
        "domain_name": domain.get("name"),
        "project_id": project_id,
        "ak": user["ak"],
        "sk": user["sk"],
    }
