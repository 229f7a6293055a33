"""``ticketmaster topics`` on a real Kafka, and roles that start where topics are not as they must be."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.process.server import one_clear_line, run, wait_until
from tests.support.consuming import Member, until
from tests.support.kafka import Cluster
from tests.support.kafka_topics import delete_topics
from ticketmaster.bootstrap.topics import WANTED
from ticketmaster.broker.kafka.broker import KafkaBroker
from ticketmaster.broker.kafka.settings import KafkaSettings
from ticketmaster.broker.kafka.topics import create_topics, set_settings
from ticketmaster.broker.port import TopicSpec
from ticketmaster.clock import SystemClock

NAMES = [topic.name for topic in WANTED]
TABLE = "state.user.reservation"
REMEDY = "ticketmaster topics create"


class Site:
    """A cluster, what talks to it, and the program's configuration for it."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder = folder
        self.servers = cluster.bootstrap_servers
        self.config = folder / "client.properties"
        self.config.write_text(f"bootstrap.servers={self.servers}\nschema.registry.url={cluster.registry_url}\n")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The program, with this site's configuration."""
        return run(*arguments, "-c", str(self.config), cwd=self.folder)

    def topics(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("topics", command, *options)

    def with_broker(self, work: Callable[[KafkaBroker], Awaitable[None]]) -> None:
        """Does something to the cluster behind the program's back."""

        async def connected() -> None:
            broker = KafkaBroker(KafkaSettings(bootstrap_servers=self.servers), SystemClock())
            await broker.start()
            try:
                await work(broker)
            finally:
                await broker.close()

        asyncio.run(connected())


async def delete_all(broker: KafkaBroker) -> None:
    await delete_topics(broker, NAMES)


@pytest.fixture
def site(own_cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
    """A cluster without any topic of ours."""
    site = Site(tmp_path, own_cluster)
    site.with_broker(delete_all)
    yield site
    site.with_broker(delete_all)


def wrong(done: subprocess.CompletedProcess[str]) -> dict[str, list[str]]:
    return {report["topic"]: report["wrong"] for report in json.loads(done.stdout) if report["wrong"]}


def test_what_is_missing_is_told_made_once_and_found_good(site: Site) -> None:
    before = site.topics("check", "--json")
    created = site.topics("create", "--partitions", "4")
    again = site.topics("create", "--json")
    after = site.topics("check")

    assert (before.returncode, wrong(before)) == (1, {name: ["is missing"] for name in NAMES})
    assert created.returncode == 0, created.stderr
    assert sorted(created.stdout.splitlines()) == sorted(f"{name}: created with 4 partitions" for name in NAMES)
    assert (again.returncode, json.loads(again.stdout)) == (0, [])
    assert after.returncode == 0, after.stdout
    assert "missing" not in after.stdout


def test_tables_are_compacted_and_logs_are_not(site: Site) -> None:
    site.topics("create", "--partitions", "1")

    described = json.loads(site.topics("describe", "--json").stdout)

    assert {report["topic"]: report["state"]["cleanup_policy"] for report in described} == {topic.name: topic.policy for topic in WANTED}
    assert {report["end_offsets_sum"] for report in described} == {0}


def test_a_lost_topic_is_made_again_as_the_others_are(site: Site) -> None:
    site.topics("create", "--partitions", "3")

    async def lose_one(broker: KafkaBroker) -> None:
        await delete_topics(broker, [TABLE])

    site.with_broker(lose_one)

    assert wrong(site.topics("check", "--json")) == {TABLE: ["is missing"]}
    assert site.topics("create").stdout == f"{TABLE}: created with 3 partitions\n"


def test_a_wrong_cleanup_policy_is_told_and_mended_and_nothing_else_is_touched(site: Site) -> None:
    site.topics("create", "--partitions", "1")

    async def spoil(broker: KafkaBroker) -> None:
        await set_settings(broker.admin, TABLE, {"cleanup.policy": "delete"})

    site.with_broker(spoil)
    told = wrong(site.topics("check", "--json"))
    mended = site.topics("create")

    assert list(told) == [TABLE]
    assert "it will forget" in told[TABLE][0]
    assert mended.stdout == f"{TABLE}: cleanup.policy set to compact\n"
    assert site.topics("check").returncode == 0


def test_a_topic_that_asks_for_more_replicas_than_it_has_is_told_and_mended(site: Site) -> None:
    site.topics("create", "--partitions", "1")
    site.with_broker(lambda broker: set_settings(broker.admin, TABLE, {"min.insync.replicas": "2"}))

    told = wrong(site.topics("check", "--json"))
    mended = site.topics("create")

    assert told == {TABLE: ["has min.insync.replicas 2 with 1 replicas: it takes no record"]}
    assert mended.stdout == f"{TABLE}: min.insync.replicas set to 1\n"
    assert site.topics("check").returncode == 0


def test_a_wrong_setting_is_told_with_the_command_that_mends_it_which_leaves_the_others(site: Site) -> None:
    site.topics("create", "--partitions", "1")

    async def spoil(broker: KafkaBroker) -> None:
        await set_settings(broker.admin, TABLE, {"message.timestamp.type": "CreateTime", "retention.ms": "123456789"})

    site.with_broker(spoil)
    told = json.loads(site.topics("check", "--json").stdout)
    for_people = site.topics("check")
    mended = site.topics("create")

    (report,) = [report for report in told if report["wrong"]]
    command = f"ticketmaster topics create -c {site.config}"
    assert (report["topic"], report["remedies"]) == (TABLE, [command])
    assert "message.timestamp.type CreateTime" in report["wrong"][0]
    assert for_people.returncode == 1
    assert command in for_people.stdout
    assert mended.stdout == f"{TABLE}: message.timestamp.type set to LogAppendTime\n"
    assert site.topics("check").returncode == 0


def test_the_members_of_the_groups_are_shown_until_they_are_gone(site: Site) -> None:
    site.topics("create", "--partitions", "2")
    # Tests before this one may have killed members.
    wait_until(lambda: site.topics("groups").returncode == 0, "the groups are empty")
    before = site.topics("groups")
    group = "event-service"

    async def look_while_somebody_is_there(broker: KafkaBroker) -> None:
        member = Member("one", broker, group, ["command.event.create_event"], {})
        try:
            await until(lambda: bool(member.owned), "it owns partitions")
            during.append(await asyncio.to_thread(site.topics, "groups"))
            during.append(await asyncio.to_thread(site.topics, "groups", "--json"))
            during.append(await asyncio.to_thread(site.topics, "refill"))
        finally:
            await member.leave()

    during: list[subprocess.CompletedProcess[str]] = []
    assert site.run("schemas", "register").returncode == 0
    site.with_broker(look_while_somebody_is_there)
    after = site.topics("groups")

    empty = [f"{name}: no members" for name in ("ticket-service", "reservation-service", group)]
    assert (before.returncode, before.stdout.splitlines()) == (after.returncode, after.stdout.splitlines()) == (0, empty)
    text, document, refill = during
    assert text.returncode == 1
    assert text.stdout.splitlines() == [*empty[:2], f"{group}: 1 member", "  ticketmaster on 127.0.0.1"]
    ((found,),) = [members for members in json.loads(document.stdout).values() if members]
    assert (found["client_id"], found["host"]) == ("ticketmaster", "127.0.0.1")
    one_clear_line(refill, [group, "ticketmaster on 127.0.0.1", f"ticketmaster topics groups -c {site.config}"])


def test_topics_of_unequal_partitions_are_refused_by_create_and_by_every_role(site: Site) -> None:
    async def unequal(broker: KafkaBroker) -> None:
        await create_topics(broker.admin, [TopicSpec(topic.name, 2 if topic.name == TABLE else 3, topic.compacted) for topic in WANTED])

    site.with_broker(unequal)

    one_clear_line(site.topics("create"), [TABLE, "2 partitions, not 3"])
    for role in ("ticket", "reservation", "event"):
        done = site.run(role, "-d", str(site.folder / role))
        assert done.returncode == 2, done.stdout
        assert (TABLE in done.stdout + done.stderr, REMEDY in done.stdout + done.stderr) == (True, True)
        assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("role", ["ticket", "reservation", "event"])
def test_a_role_that_finds_no_topics_says_which_command_makes_them(site: Site, role: str) -> None:
    done = site.run(role, "-d", str(site.folder / role))

    assert done.returncode == 2, done.stdout
    assert "is missing" in done.stdout + done.stderr
    assert REMEDY in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_more_replicas_than_brokers_are_refused_in_one_line(site: Site) -> None:
    one_clear_line(site.topics("create", "--replication-factor", "3"), ["replication"])


def test_a_cluster_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    config = tmp_path / "client.properties"
    config.write_text("bootstrap.servers=127.0.0.1:9\nrequest.timeout.ms=500")

    for command in ("create", "check", "describe", "groups"):
        one_clear_line(run("topics", command, "-c", str(config), cwd=tmp_path), ["127.0.0.1:9"])
