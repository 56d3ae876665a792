"""IMS: full-ECS images, their jobs, their sharing and their tags (BEHAVIOUR.md 5-10)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from backup_to_image.errors import ApiError
from backup_to_image.model import Image, Job, Member, Quota
from backup_to_image.otc import ims_wire
from backup_to_image.otc.calls import Query
from backup_to_image.otc.session import Session, pages
from backup_to_image.otc.wire import Body, need_part, need_parts, stamp, tags

__all__ = ["Images"]

_ATTRIBUTE_CONFLICT = "IMG.0035"
_FEW = 3


class Images:
    def __init__(self, session: Session) -> None:
        self._session = session

    async def start_from_backup(
        self,
        *,
        backup_id: str,
        name: str,
        description: str = "",
        tags: Mapping[str, str] | None = None,
        min_ram_mb: int | None = None,
        max_ram_mb: int | None = None,
        guard: Callable[[], None] | None = None,
    ) -> str:
        """Ask for a full-ECS image of a CBR backup; returns the job's id. Not safe to repeat, and never repeated here.

        After NoAnswer with `sent` look for an image with this backup first. AlreadyUsed means that there is one. A refusal
        of class W proves that nothing was made. One image per backup
        (IMS api-ref/source/ims_apis/image/creating_a_full-ecs_image.rst).
        """
        body: dict[str, Any] = {"name": name, "backup_id": backup_id, "whole_image_type": "CBR"}  # its default, CSBS, fails
        if description:
            body["description"] = description
        if tags:
            body["image_tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        if min_ram_mb is not None:
            body["min_ram"] = min_ram_mb
        if max_ram_mb is not None:
            body["max_ram"] = max_ram_mb
        path = "/v1/cloudimages/wholeimages/action"
        subject = f"backup {backup_id}"
        return await self._session.job("createWholeImage", "POST", path, body=body, subject=subject, guard=guard)

    async def job(self, job_id: str) -> Job:
        """A job of IMS; its image id may be there before SUCCESS, and is promised only then."""
        body = await self._session.json("getImsJob", "GET", f"/v1/{{project}}/jobs/{job_id}", subject=f"job {job_id}")
        return ims_wire.job({"job_id": job_id, **body}, "getImsJob")

    async def get(self, image_id: str) -> Image:
        """Raises NotFound."""
        body = await self._session.json("getImage", "GET", f"/v2/images/{image_id}", subject=f"image {image_id}")
        return ims_wire.image(body, "getImage")

    async def list(
        self,
        *,
        whole: bool | None = None,
        owner: str | None = None,
        ids: Collection[str] | None = None,
        status: str | None = None,
        name: str | None = None,
        tag: str | None = None,
        created_after: datetime | None = None,
        visibility: Literal["public", "private", "shared"] | None = None,
        member_status: Literal["accepted", "rejected", "pending"] | None = None,
        newest_first: bool = False,
        page_size: int = 500,
    ) -> AsyncIterator[Image]:
        """Images, each once, the oldest first, so that new ones appear at the end of a list that is being read.

        `newest_first` is for readers that stop early.

        Own images are asked for with `owner`: `visibility="private"` leaves out those that are shared. `tag` is `key=value`,
        `name` is exact. Offers to this project: `visibility="shared", member_status="pending"`. Up to 3 ids are asked for singly.
        """
        query: Query = {
            "__whole_image": None if whole is None else str(whole).lower(),
            "__imagetype": "shared" if visibility == "shared" else None,
            "owner": owner,
            "status": status,
            "name": name,
            "tag": tag,
            "created_at": f"gte:{stamp(created_after)}" if created_after else None,
            "visibility": visibility,
            "member_status": member_status,
            "limit": str(page_size),
            "sort_key": "created_at",
            "sort_dir": "desc" if newest_first else "asc",
        }
        if ids is not None and len(ids) <= _FEW:
            for ident in ids:
                for entry in await self._page({**query, "id": ident}):
                    yield ims_wire.image(entry, "listCloudImages")
            return

        async def fetch(marker: str | None) -> builtins.list[Body]:
            return await self._page({**query, "marker": marker})

        left = set(ids) if ids is not None else None
        async for entry in pages(fetch, page_size, "listCloudImages"):
            image = ims_wire.image(entry, "listCloudImages")
            if left is None:
                yield image
            elif image.id in left:
                yield image
                left.discard(image.id)
                if not left:
                    return

    async def _page(self, query: Query) -> builtins.list[Body]:
        return need_parts(
            await self._session.json("listCloudImages", "GET", "/v2/cloudimages", query=query), "images", "listCloudImages"
        )

    async def patch(self, image_id: str, operations: Sequence[Mapping[str, Any]]) -> Image:
        """Change attributes by JSON Patch; `replace` of one that the image lacks is repeated as `add`. Safe to repeat."""
        try:
            return await self._patch(image_id, operations)
        except ApiError as error:
            if error.cloud_code != _ATTRIBUTE_CONFLICT or not any(one.get("op") == "replace" for one in operations):
                raise
        return await self._patch(image_id, [{**one, "op": "add"} if one.get("op") == "replace" else one for one in operations])

    async def _patch(self, image_id: str, operations: Sequence[Mapping[str, Any]]) -> Image:
        told = [dict(one) for one in operations]
        path = f"/v2/cloudimages/{image_id}"
        body = await self._session.json("updateCloudImage", "PATCH", path, body=told, subject=f"image {image_id}")
        return ims_wire.image(body, "updateCloudImage")

    async def delete(self, image_id: str, *, delete_backup: bool, guard: Callable[[], None] | None = None) -> None:
        """Ask for deletion, with or without the CBR backup behind it. The grant proves nothing: look until it is gone.

        Sent once: whoever wants to send it again looks first whether the image may still go. NotFound means gone
        (BEHAVIOUR.md 10).
        """
        told = {"delete_backup": delete_backup}  # always sent, since no page states the default
        path, subject = f"/v2/images/{image_id}", f"image {image_id}"
        await self._session.call("deleteImage", "DELETE", path, body=told, makes=True, subject=subject, guard=guard)

    async def quota(self) -> dict[str, Quota]:
        """Quotas by type: image, image_shared, image_member; whichever the cloud names."""
        body = await self._session.json("getImageQuota", "GET", "/v1/cloudimages/quota")
        return ims_wire.quotas(need_parts(need_part(body, "quotas", "getImageQuota"), "resources", "getImageQuota"))

    # ---- sharing: the owner's side

    async def members(self, image_id: str) -> builtins.list[Member]:
        """The projects that an image is shared with."""
        body = await self._session.json("listImageMembers", "GET", f"/v2/images/{image_id}/members", subject=f"image {image_id}")
        return [ims_wire.member(one, "listImageMembers") for one in need_parts(body, "members", "listImageMembers")]

    async def member(self, image_id: str, project_id: str) -> Member:
        """One project's share of an image. Raises NotFound."""
        path = f"/v2/images/{image_id}/members/{project_id}"
        body = await self._session.json("getImageMember", "GET", path, subject=f"image {image_id}")
        return ims_wire.member(body, "getImageMember")

    async def share(self, image_ids: Sequence[str], project_ids: Sequence[str]) -> str:
        """Offer images to projects; returns the job's id. Each of its results counts, not the job's SUCCESS alone."""
        told = {"images": list(image_ids), "projects": list(project_ids)}
        return await self._session.job(
            "batchAddImageMembers", "POST", "/v1/cloudimages/members", body=told, subject=_named(image_ids)
        )

    async def share_one(self, image_id: str, project_id: str) -> Member:
        """Offer one image to one project, at once."""
        path, told = f"/v2/images/{image_id}/members", {"member": project_id}
        body = await self._session.made("addImageMember", "POST", path, body=told, subject=f"image {image_id}")
        return ims_wire.member(body, "addImageMember")

    async def unshare(self, image_ids: Sequence[str], project_ids: Sequence[str]) -> str:
        """End the sharing; returns the job's id."""
        told = {"images": list(image_ids), "projects": list(project_ids)}
        return await self._session.job(
            "batchDeleteImageMembers", "DELETE", "/v1/cloudimages/members", body=told, subject=_named(image_ids)
        )

    async def unshare_one(self, image_id: str, project_id: str) -> None:
        """End the sharing of one image with one project, at once. Safe to repeat: NotFound then means ended."""
        path = f"/v2/images/{image_id}/members/{project_id}"
        await self._session.call("deleteImageMember", "DELETE", path, subject=f"image {image_id}")

    # ---- sharing: the recipient's side, with the recipient's log-in

    async def set_member(
        self, image_ids: Sequence[str], status: Literal["accepted", "rejected"], *, vault_id: str | None = None
    ) -> str:
        """Accept (a full-ECS image needs a server vault) or reject offers to this project; returns the job's id."""
        project = await self._own_project()
        told: dict[str, Any] = {"images": list(image_ids), "project_id": project, "status": status}
        if vault_id:
            told["vault_id"] = vault_id
        return await self._session.job(
            "batchUpdateImageMembers", "PUT", "/v1/cloudimages/members", body=told, subject=_named(image_ids)
        )

    async def set_member_one(
        self, image_id: str, status: Literal["accepted", "rejected"], *, vault_id: str | None = None
    ) -> Member:
        """Accept or reject one offer to this project, at once. Safe to repeat."""
        told = {"status": status, **({"vault_id": vault_id} if vault_id else {})}
        path = f"/v2/images/{image_id}/members/{{project}}"
        body = await self._session.json("updateImageMember", "PUT", path, body=told, subject=f"image {image_id}")
        return ims_wire.member(body, "updateImageMember")

    async def _own_project(self) -> str:
        await self._session.ready()
        return self._session.project_id

    # ---- tags

    async def tags(self, image_id: str) -> dict[str, str]:
        """The tags of an image."""
        path = f"/v2/{{project}}/images/{image_id}/tags"
        body = await self._session.json("listImageTags", "GET", path, subject=f"image {image_id}")
        return tags({"tags": need_parts(body, "tags", "listImageTags")})

    async def set_tag(self, image_id: str, key: str, value: str) -> None:
        """Add or change one tag of an own image; at most 10. Safe to repeat."""
        told = {"image_id": image_id, "image_tag": {"key": key, "value": value}}
        await self._session.call("putImageTag", "PUT", "/v1/cloudimages/tags", body=told, subject=f"image {image_id}")

    async def set_tags(self, image_id: str, tags: Mapping[str, str]) -> None:
        """Add or change several tags in one request. Safe to repeat."""
        told = {"action": "create", "tags": [{"key": key, "value": value} for key, value in tags.items()]}
        path = f"/v2/{{project}}/images/{image_id}/tags/action"
        await self._session.call("batchImageTags", "POST", path, body=told, subject=f"image {image_id}")

    async def remove_tag(self, image_id: str, key: str) -> None:
        """Remove one tag. Safe to repeat: NotFound then means gone."""
        path = f"/v2/{{project}}/images/{image_id}/tags/{quote(key, safe='')}"
        await self._session.call("deleteImageTag", "DELETE", path, subject=f"image {image_id}")


def _named(ids: Sequence[str]) -> str:
    return f"image{'' if len(ids) == 1 else 's'} {', '.join(ids)}"
