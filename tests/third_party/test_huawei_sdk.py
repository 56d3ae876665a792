"""Huawei's own SDKs for CBR, IMS and ECS: AK/SK, an endpoint of ours, everything else as they come."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import huaweicloudsdkcbr.v1 as cbr
import huaweicloudsdkecs.v2 as ecs
import huaweicloudsdkims.v2 as ims
import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException

pytestmark = pytest.mark.filterwarnings("ignore:Unable to convert string to datetime", "ignore:Method .* is deprecated")

Account = dict[str, Any]
Until = Callable[[Callable[[], Any], Callable[[Any], bool]], Any]


def _client(kind: Any, service: str, account: Account, who: Account | None = None) -> Any:
    who = who or account
    credentials = BasicCredentials(who["ak"], who["sk"], who["project_id"])
    return kind.new_builder().with_credentials(credentials).with_endpoint(account["endpoints"][service]).build()


@pytest.fixture(scope="module")
def backups(account: Account) -> cbr.CbrClient:
    return _client(cbr.CbrClient, "cbr", account)


@pytest.fixture(scope="module")
def images(account: Account) -> ims.ImsClient:
    return _client(ims.ImsClient, "ims", account)


@pytest.fixture(scope="module")
def servers(account: Account) -> ecs.EcsClient:
    return _client(ecs.EcsClient, "ecs", account)


@pytest.fixture(scope="module")
def recipient(account: Account) -> ims.ImsClient:
    return _client(ims.ImsClient, "ims", account, account["recipient"])


def _ims_job(client: ims.ImsClient, job_id: str, until: Until) -> Any:
    done = until(lambda: client.show_job(ims.ShowJobRequest(job_id=job_id)), lambda job: job.status in {"SUCCESS", "FAIL"})
    assert done.status == "SUCCESS", done
    return done


def _ecs_job(client: ecs.EcsClient, job_id: str, until: Until) -> Any:
    done = until(lambda: client.show_job(ecs.ShowJobRequest(job_id=job_id)), lambda job: job.status in {"SUCCESS", "FAIL"})
    assert done.status == "SUCCESS", done
    return done


def _make(client: ims.ImsClient, backup_id: str, name: str, until: Until) -> str:
    body = ims.CreateWholeImageRequestBody(
        name=name, backup_id=backup_id, whole_image_type="CBR", image_tags=[ims.TagKeyValue("made-by", "huawei-sdk")]
    )
    order = client.create_whole_image(ims.CreateWholeImageRequest(body))
    return _ims_job(client, order.job_id, until).entities.image_id


@pytest.fixture(scope="module")
def image_id(account: Account, images: ims.ImsClient, until: Until) -> str:
    """A full-ECS image, made by the SDK."""
    return _make(images, account["backups"]["available"][0], "huawei-sdk", until)


def _listed(client: ims.ImsClient, **filters: Any) -> list[ims.ImageInfo]:
    return client.list_images(ims.ListImagesRequest(**filters)).images


def _members(client: ims.ImsClient, image_id: str) -> dict[str, str]:
    answer = client.glance_list_image_members(ims.GlanceListImageMembersRequest(image_id))
    return {member.member_id: member.status for member in answer.members}


def test_backups_and_vaults_are_read_page_by_page_and_one_by_one(account: Account, backups: cbr.CbrClient) -> None:
    known = account["backups"]["available"][0]
    found: list[str] = []
    while page := backups.list_backups(cbr.ListBackupsRequest(limit=40, offset=len(found))).backups:
        found += [backup.id for backup in page]
    assert len(found) == len(set(found)) > 40
    assert known in found
    backup = backups.show_backup(cbr.ShowBackupRequest(known)).backup
    assert (backup.status, backup.resource_type, backup.vault_id) == ("available", "OS::Nova::Server", account["vault"])
    assert any(disk.extend_info.bootable for disk in backup.children)
    vaults = {vault.id: vault for vault in backups.list_vault(cbr.ListVaultRequest()).vaults}
    assert vaults[account["vault"]].billing.object_type == "server"


def test_a_backup_becomes_an_image_that_list_and_native_view_show_alike(
    account: Account, images: ims.ImsClient, backups: cbr.CbrClient, image_id: str
) -> None:
    backup_id = account["backups"]["available"][0]
    [listed] = _listed(images, id=image_id)
    native = images.glance_show_image(ims.GlanceShowImageRequest(image_id))
    for seen in (listed, native):
        assert (seen.id, seen.name, seen.status, seen.backup_id) == (image_id, "huawei-sdk", "active", backup_id)
        assert seen.tags == ["made-by=huawei-sdk"]
    assert backups.show_backup(cbr.ShowBackupRequest(backup_id)).backup.extend_info.os_images_data[0].image_id == image_id


def test_a_second_image_of_the_same_backup_is_refused_with_the_clouds_code(
    account: Account, images: ims.ImsClient, image_id: str
) -> None:
    body = ims.CreateWholeImageRequestBody(name="second", backup_id=account["backups"]["available"][0], whole_image_type="CBR")
    with pytest.raises(ClientRequestException) as refusal:
        images.create_whole_image(ims.CreateWholeImageRequest(body))
    assert (refusal.value.status_code, refusal.value.error_code) == (400, "IMG.0029")
    assert [image.id for image in _listed(images, name="second")] == []
    assert image_id


def test_a_wrong_secret_key_opens_nothing(account: Account) -> None:
    stranger = _client(ims.ImsClient, "ims", account, account | {"sk": "0" * 40})
    with pytest.raises(ClientRequestException):
        stranger.list_images(ims.ListImagesRequest())


def test_a_patched_name_shows_in_every_view(images: ims.ImsClient, image_id: str) -> None:
    for name in ("huawei-sdk-renamed", "huawei-sdk"):
        change = ims.UpdateImageRequestBody(op="replace", path="/name", value=name)
        images.update_image(ims.UpdateImageRequest(image_id, [change]))
        assert [image.name for image in _listed(images, id=image_id)] == [name]
        assert images.glance_show_image(ims.GlanceShowImageRequest(image_id)).name == name


def test_a_shared_image_is_offered_to_the_recipient_and_accepted_with_a_vault(
    account: Account, images: ims.ImsClient, recipient: ims.ImsClient, image_id: str, until: Until
) -> None:
    partner = account["recipient"]
    projects = [partner["project_id"], account["second_project"]]
    order = images.batch_add_members(
        ims.BatchAddMembersRequest(ims.BatchAddMembersRequestBody(images=[image_id], projects=projects))
    )
    job = _ims_job(images, order.job_id, until)
    assert {result.status for result in job.entities.results} == {"success"}
    assert _members(images, image_id) == dict.fromkeys(projects, "pending")
    offers = _listed(recipient, member_status="pending", visibility="shared", imagetype="shared")
    assert image_id in [image.id for image in offers]

    answer = {"images": [image_id], "project_id": partner["project_id"], "status": "accepted"}
    with pytest.raises(ClientRequestException):
        recipient.batch_update_members(ims.BatchUpdateMembersRequest(ims.BatchUpdateMembersRequestBody(**answer)))
    accepted = recipient.batch_update_members(
        ims.BatchUpdateMembersRequest(ims.BatchUpdateMembersRequestBody(**answer, vault_id=partner["vault"]))
    )
    _ims_job(recipient, accepted.job_id, until)
    assert _members(images, image_id) == {partner["project_id"]: "accepted", account["second_project"]: "pending"}
    assert image_id in [image.id for image in _listed(recipient, visibility="shared", imagetype="shared")]


def _order(account: Account, image_id: str, *, dry_run: bool) -> ecs.CreatePostPaidServersRequest:
    server = ecs.PostPaidServer(
        image_ref=image_id,
        flavor_ref=account["flavor"],
        name="huawei-sdk-server",
        vpcid=account["vpc"],
        nics=[ecs.PostPaidServerNic(subnet_id=account["subnet"])],
        root_volume=ecs.PostPaidServerRootVolume(volumetype="SSD"),
        security_groups=[ecs.PostPaidServerSecurityGroup(id=account["security_group"])],
        key_name=account["keypair"],
    )
    return ecs.CreatePostPaidServersRequest(body=ecs.CreatePostPaidServersRequestBody(server=server, dry_run=dry_run))


def test_a_server_is_launched_after_a_dry_run_that_starts_nothing_and_is_gone_once_deleted(
    account: Account, servers: ecs.EcsClient, image_id: str, until: Until
) -> None:
    mine = ecs.ListServersDetailsRequest(name="huawei-sdk-server")
    assert servers.create_post_paid_servers(_order(account, image_id, dry_run=True)).job_id is None
    assert servers.list_servers_details(mine).servers == []

    order = servers.create_post_paid_servers(_order(account, image_id, dry_run=False))
    [server_id] = order.server_ids
    job = _ecs_job(servers, order.job_id, until)
    assert [sub.entities.server_id for sub in job.entities.sub_jobs] == [server_id]
    server = servers.show_server(ecs.ShowServerRequest(server_id=server_id)).server
    assert (server.status, server.image.id, server.key_name) == ("ACTIVE", image_id, account["keypair"])
    assert [each.id for each in servers.list_servers_details(mine).servers] == [server_id]

    order = servers.delete_servers(
        ecs.DeleteServersRequest(
            ecs.DeleteServersRequestBody(delete_publicip=True, delete_volume=True, servers=[ecs.ServerId(server_id)])
        )
    )
    _ecs_job(servers, order.job_id, until)
    with pytest.raises(ClientRequestException) as gone:
        servers.show_server(ecs.ShowServerRequest(server_id=server_id))
    assert (gone.value.status_code, gone.value.error_code) == (404, "Ecs.0114")


@pytest.mark.parametrize("with_backup", [False, True])
def test_a_deleted_image_is_gone_and_its_backup_stays_unless_asked_for(
    account: Account, images: ims.ImsClient, backups: cbr.CbrClient, until: Until, with_backup: bool
) -> None:
    backup_id = account["backups"]["available"][1]
    image_id = _make(images, backup_id, "huawei-sdk-short", until)
    images.glance_delete_image(
        ims.GlanceDeleteImageRequest(image_id, ims.GlanceDeleteImageRequestBody(delete_backup=with_backup))
    )
    until(lambda: _listed(images, id=image_id), lambda found: not found)
    found = until(
        lambda: [backup.id for backup in backups.list_backups(cbr.ListBackupsRequest(limit=1000)).backups],
        lambda ids: (backup_id in ids) is not with_backup,
    )
    assert (backup_id in found) is not with_backup


def test_departs_from_the_contract_its_create_servers_goes_to_v1_1_which_is_refused(
    account: Account, servers: ecs.EcsClient, image_id: str
) -> None:
    server = ecs.PrePaidServer(
        image_ref=image_id,
        flavor_ref=account["flavor"],
        name="huawei-sdk-v1-1",
        vpcid=account["vpc"],
        nics=[ecs.PrePaidServerNic(subnet_id=account["subnet"])],
        root_volume=ecs.PrePaidServerRootVolume(volumetype="SSD"),
    )
    with pytest.raises(ClientRequestException) as refusal:
        servers.create_servers(ecs.CreateServersRequest(body=ecs.CreateServersRequestBody(server=server)))
    assert refusal.value.status_code == 404
    assert servers.list_servers_details(ecs.ListServersDetailsRequest(name="huawei-sdk-v1-1")).servers == []


def test_departs_from_the_contract_its_job_progress_call_is_not_there(images: ims.ImsClient) -> None:
    with pytest.raises(ClientRequestException) as refusal:
        images.show_job_progress(ims.ShowJobProgressRequest(job_id="0" * 32))
    assert refusal.value.status_code == 404


def test_departs_from_the_contract_it_has_no_filter_for_whole_images() -> None:
    assert "__whole_image" not in ims.ListImagesRequest.attribute_map.values()


def test_departs_from_the_contract_cbr_times_with_an_offset_come_out_as_text_or_in_the_wrong_zone(
    account: Account, backups: cbr.CbrClient
) -> None:
    """It appends a Z to every time that does not end with one, then reads `+00:00Z` or gives up (core/client.py)."""
    seen = [backups.show_backup(cbr.ShowBackupRequest(each)).backup.created_at for each in account["backups"]["available"][2:]]
    assert {type(each) for each in seen} <= {str, dt.datetime}
    assert any(isinstance(each, str) and each.endswith("+00:00") for each in seen)
