"""``ticketmaster topics``: the topics of the system on a Kafka cluster."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ticketmaster.cli.options import AT_LEAST_1, CONFIG
from ticketmaster.cli.say import cell, say, say_json, say_table
from ticketmaster.cli.verdict import finding_out

if TYPE_CHECKING:
    from ticketmaster.bootstrap.topics import TopicReport

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")


@click.group()
def topics() -> None:
    """Create and look at the topics of the system on Kafka."""


@topics.command()
@CONFIG
@click.option("--partitions", type=AT_LEAST_1, metavar="N", help="Partitions of every topic.  [default: as those that exist, else 20]")
@click.option("--replication-factor", type=AT_LEAST_1, metavar="N", help="Replicas of every new topic.  [default: the cluster's]")
@_JSON
def create(config_file: Path | None, partitions: int | None, replication_factor: int | None, *, as_json: bool) -> None:
    """Create what is missing, and mend settings.

    Of topics that exist it mends cleanup.policy, delete.retention.ms, min.insync.replicas and message.timestamp.type.

    It may be run again at any time.
    """
    # Imported here, so that --help and a mistyped option are answered at once.
    from ticketmaster.bootstrap.topics import run_create  # noqa: PLC0415
    from ticketmaster.config.roles import load_properties  # noqa: PLC0415

    changes = run_create(load_properties(config_file).kafka, partitions, replication_factor)
    if as_json:
        say_json([change._asdict() for change in changes])
        return
    for change in changes:
        say(f"{change.topic}: {change.text}")
    if not changes:
        say("all topics are there, nothing to do")


@topics.command()
@CONFIG
@_JSON
@finding_out()
def check(config_file: Path | None, *, as_json: bool) -> None:
    """Check every topic, and print the command that mends what is wrong.

    Exit code 0 if all is right, 1 if not, 3 if Kafka can't be reached any more.
    """
    from ticketmaster.bootstrap.topics import run_check  # noqa: PLC0415
    from ticketmaster.config.roles import load_properties  # noqa: PLC0415

    reports = run_check(load_properties(config_file))
    _show(reports, as_json=as_json, with_offsets=False)
    sys.exit(1 if any(report.wrong for report in reports) else 0)


@topics.command()
@CONFIG
@_JSON
def describe(config_file: Path | None, *, as_json: bool) -> None:
    """Show every topic: partitions, replicas, how far its log goes, and how far behind its readers are."""
    from ticketmaster.bootstrap.topics import run_describe  # noqa: PLC0415
    from ticketmaster.config.roles import load_properties  # noqa: PLC0415

    _show(run_describe(load_properties(config_file)), as_json=as_json, with_offsets=True)


@topics.command()
@CONFIG
@_JSON
@finding_out()
def groups(config_file: Path | None, *, as_json: bool) -> None:
    """Show who is in the groups of the three roles: exit code 0 if they are empty, 1 if not, 3 if Kafka can't be reached any more.

    The original's processes stay in their group for 45 s after they have ended.
    """
    from ticketmaster.bootstrap.topics import run_groups  # noqa: PLC0415
    from ticketmaster.config.roles import load_properties  # noqa: PLC0415

    found = run_groups(load_properties(config_file).kafka)
    if as_json:
        say_json({group: [member._asdict() for member in members] for group, members in found.items()})
    else:
        for group, members in found.items():
            say(f"{group}: {len(members) or 'no'} member{'' if len(members) == 1 else 's'}")
            for member in members:
                say(f"  {member.client_id} on {member.host}")
    sys.exit(1 if any(found.values()) else 0)


@topics.command()
@CONFIG
@_JSON
def refill(config_file: Path | None, *, as_json: bool) -> None:
    """Copy values that the state topics lack from the changelogs. For a take-over from a system that keeps those topics by time.

    Stop the reservation and event roles first. You may run it again at any time: existing values stay as they are.
    """
    from ticketmaster.bootstrap.refill import run_refill  # noqa: PLC0415
    from ticketmaster.cli.progress import shown_progress  # noqa: PLC0415
    from ticketmaster.config.roles import load_properties  # noqa: PLC0415

    with shown_progress() as show:
        results = run_refill(
            load_properties(config_file),
            lambda topic, partition, records: show(f"{topic}, partition {partition}: {records:,} records read"),
        )
    if as_json:
        say_json([result._asdict() for result in results])
        return
    for result in results:
        say(f"{result.topic}: {result.written:,} of {result.keys:,} keys were missing and are written")
        if result.unreadable:
            say(f"{result.topic}: {result.unreadable:,} values of its changelog can't be read and are left out", "yellow")


def _show(reports: list[TopicReport], *, as_json: bool, with_offsets: bool) -> None:
    if as_json:
        say_json([_document(report, with_offsets=with_offsets) for report in reports])
    else:
        _show_table(reports, with_offsets=with_offsets)


def _document(report: TopicReport, *, with_offsets: bool) -> dict[str, Any]:
    state = report.state._asdict() if report.state else None
    document = {"topic": report.topic, "state": state, "wrong": report.wrong, "remedies": report.remedies}
    return document | {"end_offsets_sum": report.records, "lag": report.lag} if with_offsets else document


def _show_table(reports: list[TopicReport], *, with_offsets: bool) -> None:
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for name in ("topic", "partitions", "replicas", "in sync", "cleanup", *(("end offsets", "lag") if with_offsets else ()), "wrong"):
        table.add_column(name, justify="left" if name in ("topic", "cleanup", "lag", "wrong") else "right", no_wrap=name == "topic")
    for report in reports:
        state = report.state
        cells = [str(state.partitions), str(state.replicas), str(state.in_sync), state.cleanup_policy] if state else [""] * 4
        if with_offsets:
            cells += [f"{report.records:,}", ", ".join(f"{group} {lag:,}" for group, lag in report.lag.items())]
        verdict = cell("; ".join(report.wrong), "red") if report.wrong else cell("–", "green")
        table.add_row(report.topic, *map(cell, cells), verdict)
    say_table(table, 200)
    remedies = Counter(remedy for report in reports for remedy in report.remedies)
    for remedy, count in remedies.items():
        say()
        say(f"to mend {count} of what is wrong:")
        say(f"  {remedy}")
