"""The native image calls refuse in the words of IMS, or in OpenStack's own: nothing is documented (BEHAVIOUR.md 3 and 14)."""

from __future__ import annotations

from functools import wraps
from http import HTTPStatus

from .cloud import Cloud
from .services import Handler
from .wire import Answer, Call, Refusal

__all__ = ["native"]

# What OpenStack's image service answers where IMS has a code of its own.
_STATUS = {
    "IMG.0027": 404,
    "IMG.0121": 404,
    "IMG.0028": 403,
    "IMG.0092": 403,
    "IMG.0094": 403,
    "IMG.0047": 403,
    "IMG.0090": 409,
    "IMG.0112": 409,
}


def native(handler: Handler) -> Handler:
    """A handler of a native call: with the switch on glance, its refusals are OpenStack's."""

    @wraps(handler)
    def handle(cloud: Cloud, call: Call) -> Answer:
        try:
            return handler(cloud, call)
        except Refusal as refusal:
            status = _STATUS.get(refusal.code)
            if cloud.switches["native_refusals"] == "ims" or status is None:
                raise
            phrase = HTTPStatus(status).phrase
            body = {"message": refusal.message, "code": f"{status} {phrase}", "title": phrase}
            raise Refusal(status, refusal.code, refusal.message, body=body) from refusal

    return handle
