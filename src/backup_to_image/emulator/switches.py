"""What the documentation leaves open, as switches: BEHAVIOUR.md section 14 and the undecided places of the other sections.

Each row: name, values (the first is the default), what it decides, where the question is raised. A client must be right with
every value; `GET` and `PUT /_emulator/switches` show and set them, `Emulator.switches` does the same in-process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["SWITCHES", "Switch", "Switches"]


@dataclass(frozen=True, slots=True)
class Switch:
    """One open question: its possible answers (default first), what it decides, and the row it stands for."""

    name: str
    values: tuple[str, ...]
    decides: str
    source: str


SWITCHES: tuple[Switch, ...] = (
    Switch(
        "refusals",
        ("at_once", "in_job"),
        "createWholeImage refuses with a 400, or takes the order and the job FAILs",
        "14 where a refusal surfaces",
    ),
    Switch(
        "code_family",
        ("ims", "cbr"),
        "refusals about a backup carry IMG.nnnn, or CBR's BackupService.nnnn handed on",
        "14 where a refusal surfaces",
    ),
    Switch(
        "os_metadata_refusal",
        ("in_job", "at_once"),
        "a source server without OS metadata (IMG.0195) fails the job, or is refused",
        "14 OS information",
    ),
    Switch("used_code", ("IMG.0029", "IMG.0134"), "code for a backup that has its image already", "4.2 unused"),
    Switch("state_code", ("IMG.0032", "IMG.0132"), "code for a backup that is not available", "4.2 ready"),
    Switch("disk_backup_code", ("IMG.0198", "IMG.0180"), "code for a backup of a disk", "14 code for a disk backup"),
    Switch(
        "no_system_disk_code",
        ("IMG.0033", "IMG.0195"),
        "code for a backup without system disk",
        "14 code for a backup without system disk",
    ),
    Switch(
        "no_type_code",
        ("IMG.0127", "IMG.0198"),
        "code when whole_image_type is left out and CSBS is assumed",
        "14 code when whole_image_type is missing",
    ),
    Switch("unknown_backup_code", ("IMG.0020", "IMG.0198"), "code for a backup id that the caller cannot see", "4.2 exists"),
    Switch(
        "image_id_in_job",
        ("late", "early"),
        "entities.image_id appears on SUCCESS only, or as soon as the job runs",
        "6 when does image_id appear",
    ),
    Switch(
        "job_progress", ("absent", "shown"), "a RUNNING job has process_percent and current_task", "6 when does image_id appear"
    ),
    Switch("running_end_time", ("empty", "null"), 'end_time of a running job is "" or null', "6 running job"),
    Switch(
        "fail_entities",
        ("name", "details"),
        "entities of a FAIL job: the image name, or error_code and error too",
        "6 a failed job",
    ),
    Switch(
        "while_protecting",
        ("refused", "allowed"),
        "a backup in protecting with supported_restore_mode snapshot may become an image",
        "4.3",
    ),
    Switch(
        "shared_disks",
        ("allowed", "refused"),
        "a backup holding a disk that several servers share may become an image",
        "14 shared disks",
    ),
    Switch(
        "whole_image_field",
        ("absent", "shown"),
        "__whole_image stands in the answers (as a string)",
        "14 __whole_image in answers",
    ),
    Switch("names", ("free", "unique"), "image names may repeat, or a second one is IMG.0009", "14 names unique"),
    Switch(
        "description_spaces", ("allowed", "refused"), "spaces in descriptions are fine, or IMG.0054", "14 description and spaces"
    ),
    Switch("vault_with_instance", ("required", "optional"), "vault_id beside instance_id", "14 vault_id with instance_id"),
    Switch(
        "members_counted",
        ("all", "answered"),
        "who counts towards the ten recipients of a full-ECS image",
        "14 who counts towards the ten",
    ),
    Switch(
        "member_failures",
        ("hidden", "at_once"),
        "one failure among several recipients hides in a SUCCESS job, or refuses the call",
        "6 member jobs",
    ),
    Switch(
        "accept_refusal",
        ("in_job", "at_once"),
        "a vault too small for an accepted image fails the batch job, or is refused",
        "9 recipient's vault",
    ),
    Switch(
        "native_refusals",
        ("ims", "glance"),
        "native image calls refuse with 400 and IMG codes, or with OpenStack's 403/404/409",
        "14 body and status of refusals",
    ),
    Switch("delete_backup_default", ("false", "true"), "deleteImage without delete_backup", "14 delete_backup default"),
    Switch(
        "killed_image",
        ("frees", "blocks"),
        "a backup whose image was killed is free again, or used until that image is deleted",
        "14 one image per backup",
    ),
    Switch(
        "busy_backup",
        ("skipped", "refused"),
        "createCheckpoint while a backup runs: 200 with skipped_resources, or 400 BackupService.6125",
        "14 createCheckpoint",
    ),
    Switch(
        "bad_token",
        ("service", "gateway"),
        "a bad token outside IAM: the service's own code, or a gateway's 401 in front of it",
        "14 bad token outside IAM",
    ),
    Switch("empty_fields", ("absent", "null", "blank"), "how an empty field of a backup looks", "14 empty fields of a backup"),
    Switch(
        "cbr_times",
        ("mixed", "zone", "bare", "seconds"),
        "spelling of CBR's times: +00:00 with milliseconds, no zone with microseconds, Z with whole seconds",
        "openapi CbrTime",
    ),
    Switch(
        "replica_times",
        ("backup_time", "original", "copied"),
        "a replica: created_at is of the copying and protected_at of the backup, both are of the backup, or only created_at is "
        "told, of the copying",
        "14 times of a replica",
    ),
    Switch(
        "replica_project",
        ("own", "source"),
        "project_id of a replica: the project that it lies in, or that of the backup that was copied",
        "14 project of a replica",
    ),
    Switch(
        "whole_image_sharing",
        ("allowed", "refused"),
        "full-ECS images can be shared, or not at all (IMG.0135), as one page for eu-ch2 has it",
        "14 full-ECS images shareable in eu-ch2",
    ),
    Switch(
        "encrypted_images",
        ("refused", "shareable"),
        "encrypted images and backups cannot be shared (IMG.0098, 6709), or can with a key of one's own",
        "14 encrypted images, encrypted backups",
    ),
    Switch(
        "disk_backup_sharing",
        ("refused", "allowed"),
        "backups of disks cannot be shared (6700), or can",
        "14 which backups can be shared",
    ),
    Switch(
        "bootable_marks",
        ("agree", "differ"),
        "bootable and system_disk of a disk agree, or only bootable is true",
        "14 bootable against system_disk",
    ),
    Switch(
        "delete_bodies",
        ("arrive", "dropped"),
        "the body of a DELETE arrives, or a proxy drops it on the way",
        "14 DELETE with body through proxies",
    ),
    Switch(
        "member_results",
        ("lower", "upper"),
        "results of member jobs are written success, failed or SUCCESS, FAIL",
        "6 member jobs",
    ),
    Switch(
        "recipient_sees_backup",
        ("no", "yes"),
        "the recipient of an accepted image can read its __backup_id in CBR",
        "14 backup id seen by the recipient",
    ),
    Switch(
        "launch_refusals",
        ("at_once", "in_job"),
        "createServers refuses what needs a look at other services (quota, capacity, image, backup) with a 400, or its job FAILs",
        "3 ECS, 14 where a refusal surfaces",
    ),
    Switch(
        "job_cause",
        ("in_sub_job", "in_both"),
        "a FAIL job of ECS has a general code and the cause in its sub-job, or the cause in both",
        "6 a failed job",
    ),
    Switch(
        "building_server",
        ("hidden_first", "absent", "shown"),
        "a server that is being made: 404 and not listed at first, then BUILD; 404 until it is ACTIVE; BUILD at once",
        "11 getServer may answer 404",
    ),
    Switch(
        "taken_status", ("200", "202"), "status of an order that ECS has taken (202: later, the system is busy)", "11 status 202"
    ),
    Switch(
        "wrong_power_state",
        ("refused", "taken"),
        "starting a running server or stopping a stopped one: Ecs.0100, or a job that changes nothing",
        "14 starting a running server",
    ),
    Switch("tags_status", ("204", "200", "202"), "status of serverTagsAction", "14 status of serverTagsAction"),
    Switch("server_tags", ("honoured", "ignored"), "server_tags of createServers", "14 server_tags"),
    Switch(
        "dry_run_checks",
        ("form", "everything"),
        "a dry run of createServers checks the form alone, as its page says, or all that a launch does",
        "11 dry_run",
    ),
    Switch(
        "rejected_image",
        ("usable", "unknown"),
        "the recipient may launch from an image that he rejected",
        "14 rejected image usable",
    ),
    Switch("change_os_keyname", ("optional", "required"), "keyname of changeOs", "14 keyname in changeOs"),
    Switch("system_disk_on_delete", ("deleted", "kept"), "deleteServers and the system disk", "14 fate of the system disk"),
    Switch(
        "delete_publicip_default",
        ("eip_decides", "kept"),
        "deleteServers without delete_publicip: the EIP's delete_on_termination decides, or it is kept",
        "11 teardown",
    ),
    Switch(
        "guest_addresses",
        ("own", "shared"),
        "guests have a loopback address each, or share 127.0.0.1 with ports of their own (metadata emulator.ports); so on macOS",
        "not a question of the pages: what this machine can do",
    ),
)


class Switches(Mapping[str, str]):
    """The answers in force; unknown names and values are refused."""

    def __init__(self) -> None:
        self._chosen = {switch.name: switch.values[0] for switch in SWITCHES}
        self._allowed = {switch.name: switch.values for switch in SWITCHES}

    def __getitem__(self, name: str) -> str:
        return self._chosen[name]

    def __setitem__(self, name: str, value: str) -> None:
        if name not in self._allowed:
            raise ValueError(f"no switch {name!r}; there are {', '.join(self._allowed)}")
        if value not in self._allowed[name]:
            raise ValueError(f"switch {name!r} takes {' or '.join(self._allowed[name])}, not {value!r}")
        self._chosen[name] = value

    def __iter__(self) -> Iterator[str]:
        return iter(self._chosen)

    def __len__(self) -> int:
        return len(self._chosen)

    def update(self, **answers: str) -> None:
        """Set several at once; none is set when one of them is refused."""
        before = dict(self._chosen)
        try:
            for name, value in answers.items():
                self[name] = value
        except ValueError:
            self._chosen = before
            raise
