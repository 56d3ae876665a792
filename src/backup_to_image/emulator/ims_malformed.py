"""Which IMG code a request gets that does not fit the contract."""

from __future__ import annotations

import re
from typing import Any

from .routing import Operation
from .wire import Doc, Problem, Refusal, mapping, sequence

__all__ = ["admits", "malformed"]

_NAME = re.compile(r"[A-Za-z0-9._-]([A-Za-z0-9._ -]*[A-Za-z0-9._-])?")
_DOT_TAG = re.compile(r"[A-Za-z0-9_-]{1,36}\.[A-Za-z0-9_-]{0,43}")
_TAGGING = {"putImageTag", "addImageTag", "batchImageTags", "deleteImageTag", "queryImagesByTag"}


def malformed(operation: Operation, problem: Problem) -> Refusal:
    """IMS's words for a request that does not fit the contract."""
    if problem.where == "path":
        if problem.name == "job_id":
            return Refusal(400, "IMG.0023", "job lookup failed")
        if problem.name == "project_id":
            return Refusal(400, "IMG.0067", "project not valid")
        return Refusal(
            404 if operation.native else 400, "IMG.0121" if problem.name == "member_id" else "IMG.0027", problem.message
        )
    if problem.where == "body" and problem.rule == "required" and not problem.name and problem.value is None:
        return Refusal(400, "IMG.0007", "request body is empty")
    if problem.where == "body" and operation.id == "createWholeImage" and (order := mapping(problem.value)) is not None:
        return _whole_image(order)
    if problem.where == "body" and operation.id in _TAGGING and problem.value is not None:
        if problem.rule == "maxItems":
            return Refusal(400, "IMG.0116", "too many tags")
        if problem.name.startswith(("tag", "image_tag")):
            return Refusal(400, "IMG.0115", "bad image tag")
    if problem.where == "body" and operation.id == "batchUpdateImageMembers" and problem.name == "vault_id":
        return Refusal(400, "IMG.0184", "vault not found")
    return Refusal(400, "IMG.0001", problem.message)


def admits(operation: Operation, problem: Problem) -> bool:
    """Two orders that the contract leaves out reach the handler, whose answer a switch decides.

    A backup without whole_image_type (CSBS is assumed then) and a server without vault_id (BEHAVIOUR.md 14).
    """
    if operation.id != "createWholeImage" or problem.where != "body" or (body := mapping(problem.value)) is None:
        return False
    if "backup_id" in body and body.get("whole_image_type", "CSBS") == "CSBS":
        mended = {**body, "whole_image_type": "CBR"}
    elif "instance_id" in body and "vault_id" not in body:
        mended = {**body, "vault_id": body["instance_id"]}
    else:
        return False
    return operation.body is not None and bool(operation.body.is_valid(mended))


def _whole_image(body: Doc) -> Refusal:
    """Why the body of createWholeImage is refused; the first reason in the order in which its table lists the parameters."""
    refusal = _bad_name(body.get("name")) or _bad_description(body.get("description", "")) or _bad_tags(body)
    if refusal is not None:
        return refusal
    if "backup_id" in body and "instance_id" in body:
        return Refusal(400, "IMG.0001", "backup_id and instance_id exclude each other")
    if "backup_id" not in body and "instance_id" not in body:
        return Refusal(400, "IMG.0019", "no backup id")
    if any(not isinstance(body.get(name, 0), int) or body.get(name, 0) < 0 for name in ("min_ram", "max_ram")):
        return Refusal(400, "IMG.0055", "bad memory size")
    if not isinstance(body.get("backup_id", ""), str) or ("vault_id" in body and "backup_id" in body):
        return Refusal(400, "IMG.0001", "malformed request")
    return Refusal(400, "IMG.0001", "malformed request")


def _bad_name(name: Any) -> Refusal | None:
    if name is None:
        return Refusal(400, "IMG.0013", "no name")
    if not isinstance(name, str) or not name:
        return Refusal(400, "IMG.0013", "no name")
    if len(name) > 128:
        return Refusal(400, "IMG.0002", "name too long")
    return None if _NAME.fullmatch(name) else Refusal(400, "IMG.0003", "bad name")


def _bad_description(text: Any) -> Refusal | None:
    if not isinstance(text, str):
        return Refusal(400, "IMG.0001", "malformed request")
    if len(text) > 1024:
        return Refusal(400, "IMG.0004", "description too long")
    return Refusal(400, "IMG.0054", "bad description") if re.search(r"[<>\r\n]", text) else None


def _bad_tags(body: Doc) -> Refusal | None:
    if "tags" in body and "image_tags" in body:
        return Refusal(400, "IMG.0001", "tags and image_tags exclude each other")
    given = sequence(body.get("tags", body.get("image_tags", [])))
    if given is None:
        return Refusal(400, "IMG.0001", "malformed request")
    if len(given) > 10:
        return Refusal(400, "IMG.0116", "too many tags")
    return None if all(_good_tag(tag) for tag in given) else Refusal(400, "IMG.0115", "bad image tag")


def _good_tag(tag: Any) -> bool:
    if isinstance(tag, str):
        return _DOT_TAG.fullmatch(tag) is not None
    pair = mapping(tag)
    if pair is None:
        return False
    key, value = pair.get("key"), pair.get("value")
    fits = isinstance(key, str) and isinstance(value, str) and set(pair) == {"key", "value"}
    return (
        fits
        and re.fullmatch(r"[A-Za-z0-9_-]{1,36}", str(key)) is not None
        and re.fullmatch(r"[A-Za-z0-9_-]{0,43}", str(value)) is not None
    )
