"""openstacksdk with otcextensions: log-in by password, images by both doors, jobs, backups, vaults."""

from collections.abc import Callable, Iterator
from typing import Any

import openstack
import pytest
from openstack.connection import Connection

Account = dict[str, Any]
Until = Callable[[Callable[[], Any], Callable[[Any], bool]], Any]


@pytest.fixture(scope="module")
def cloud(account: Account) -> Iterator[Connection]:
    """The catalog holds no imsv1 and imsv2, the types that otcextensions asks for: their endpoints are given by name."""
    connection = openstack.connect(
        auth={
            "auth_url": account["auth_url"],
            "username": account["user"],
            "password": account["password"],
            "user_domain_name": account["domain_name"],
            "project_name": account["project_name"],
            "project_domain_name": account["domain_name"],
        },
        region_name=account["region"],
        vendor_hook="otcextensions.sdk:load",
        imsv1_endpoint_override=f"{account['endpoints']['ims']}/v1",
        imsv2_endpoint_override=f"{account['endpoints']['ims']}/v2",
    )
    with connection:
        yield connection


@pytest.fixture(scope="module")
def job(account: Account, cloud: Connection) -> str:
    """The job of an image ordered through the SDK's own session, for otcextensions has no call for full-ECS images."""
    order = {"name": "openstacksdk", "backup_id": account["backups"]["available"][2], "whole_image_type": "CBR"}
    return cloud.imsv1.post("/cloudimages/wholeimages/action", json=order).json()["job_id"]


def test_a_password_gives_a_token_of_the_project(account: Account, cloud: Connection) -> None:
    assert cloud.auth_token
    assert cloud.current_project_id == account["project_id"]


def test_a_job_is_read_while_it_runs_and_waited_for_until_its_image_is_there(cloud: Connection, job: str) -> None:
    running = cloud.imsv1.get_async_job(job)
    assert running.job_type == "imsCreateWholeImageByBackupJob"
    assert running.status in {"INIT", "RUNNING"}
    done = cloud.imsv1.wait_for_async_job(job, wait=1, timeout=60)
    assert done.status == "SUCCESS"
    assert cloud.image.get_image(done.entities.image_id).status == "active"


def test_native_and_cloud_lists_show_the_same_images_over_several_pages(account: Account, cloud: Connection, job: str) -> None:
    cloud.imsv1.wait_for_async_job(job, wait=1, timeout=60)
    native = [image.id for image in cloud.image.images(owner=account["project_id"])]
    assert len(native) == len(set(native)) > 25, "one page of the native list is 25"
    listed = {image.id: image for image in cloud.imsv2.images(owner=account["project_id"])}
    assert set(native) == set(listed)
    assert account["backups"]["available"][2] in {image.backup_id for image in listed.values()}


def test_every_backup_is_found_whatever_the_page_size(account: Account, cloud: Connection) -> None:
    every = [backup.id for backup in cloud.cbr.backups()]
    assert account["backups"]["available"][2] in every
    assert [backup.id for backup in cloud.cbr.backups(limit=40)] == every
    backup = cloud.cbr.get_backup(account["backups"]["available"][2])
    assert (backup.status, backup.resource_type) == ("available", "OS::Nova::Server")
    assert any(disk["extend_info"]["bootable"] for disk in backup.children)


def test_vaults_are_read_with_their_size_and_kind(account: Account, cloud: Connection) -> None:
    vault = {each.id: each for each in cloud.cbr.vaults()}[account["vault"]]
    assert vault.billing.object_type == "server"
    assert cloud.cbr.get_vault(account["vault"]).name == vault.name


def test_servers_are_listed(cloud: Connection) -> None:
    servers = {server.name: server for server in cloud.compute.servers()}
    assert servers["shop-db-01"].status == "ACTIVE"


def test_sharing_by_the_native_call_is_seen_by_the_member_list(account: Account, cloud: Connection, job: str) -> None:
    image_id = cloud.imsv1.wait_for_async_job(job, wait=1, timeout=60).entities.image_id
    partner = account["recipient"]["project_id"]
    cloud.image.add_member(image_id, member=partner)
    assert [(member.member_id, member.status) for member in cloud.image.members(image_id)] == [(partner, "pending")]
    cloud.image.remove_member(partner, image_id)
    assert list(cloud.image.members(image_id)) == []


def test_departs_from_the_contract_its_image_delete_says_nothing_of_the_backup_which_stays(
    account: Account, cloud: Connection, until: Until
) -> None:
    backup_id = account["backups"]["available"][3]
    order = {"name": "openstacksdk-short", "backup_id": backup_id, "whole_image_type": "CBR"}
    job = cloud.imsv1.post("/cloudimages/wholeimages/action", json=order).json()["job_id"]
    image_id = cloud.imsv1.wait_for_async_job(job, wait=1, timeout=60).entities.image_id
    cloud.image.delete_image(image_id)
    until(lambda: list(cloud.imsv2.images(id=image_id)), lambda found: not found)
    assert cloud.cbr.get_backup(backup_id).status == "available"


def test_departs_from_the_contract_looking_for_a_name_that_is_not_there_it_asks_for_hidden_images_and_is_refused(
    cloud: Connection,
) -> None:
    with pytest.raises(openstack.exceptions.BadRequestException, match="os_hidden"):
        cloud.image.find_image("no-such-image")


def test_departs_from_the_contract_it_never_learns_whether_an_image_is_registered(account: Account, cloud: Connection) -> None:
    [image] = cloud.imsv2.images(id=account["image_public"])
    assert image.is_registered is None, "it reads __is_registered, the cloud writes __isregistered"


def test_departs_from_the_contract_it_shows_no_progress_of_a_job_beyond_three_fields(cloud: Connection, job: str) -> None:
    entities = cloud.imsv1.wait_for_async_job(job, wait=1, timeout=60).entities
    assert {"image_id", "image_name", "process_percent"} >= set(entities.to_dict(computed=False, original_names=True)) - {
        "id",
        "name",
    }
