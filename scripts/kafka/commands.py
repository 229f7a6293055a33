"""The commands of `scripts/kafka/cluster`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.errors import ScriptError, UsageError
from scripts.kafka import kits
from scripts.kafka.clusters import BROKERS, Folder

SIGNALS = {"STOP": signal.SIGSTOP, "CONT": signal.SIGCONT}
START_TIMEOUT_S = 60.0
INTERRUPTED = 130
DOWN = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    # What asked for a start may end it: then it goes as by Ctrl-C, and takes with it what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = parser().parse_args(arguments)
    try:
        code: int = options.command(options)
    except ScriptError as error:
        say(str(error))
        return error.code
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def say(text: str) -> None:
    """Progress and errors; the results are on stdout."""
    print(f"cluster: {text}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="cluster",
        description="A Kafka cluster and a schema registry on this machine, without Docker.",
        epilog=f"{kits.JAVA_OPTIONS} in the environment holds more options for the Java that runs each of them.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("install", help="fetch Kafka and the registry by Maven into the cache, as a start does")
    command.add_argument("--kit", choices=("kafka", "registry"), action="append", help="only this one (both)")
    command.set_defaults(command=install)

    command = _with_folder(
        commands.add_parser(
            "start", help="start what isn't running of a cluster in DIR, which is made if there is none; fetches what is missing"
        )
    )
    command.add_argument("--brokers", type=int, choices=BROKERS, help="of a new cluster (1)")
    command.add_argument("--registry", action="store_true", help="add a schema registry")
    command.add_argument("--node", type=int, metavar="N", help="start this broker only")
    command.add_argument(
        "--timeout", type=float, default=START_TIMEOUT_S, metavar="SECONDS", help="until all answer, once everything is fetched (60)"
    )
    command.add_argument("--setting", action="append", default=[], metavar="KEY=VALUE", help="of all brokers of the cluster, from now on")
    command.add_argument("--json", action="store_true", help="print cluster.json, with a state for each server")
    command.set_defaults(command=start)

    command = _with_folder(commands.add_parser("stop", help="stop the cluster; its data stay"))
    command.add_argument("--node", type=int, metavar="N", help="stop this broker only")
    command.add_argument("--kill", action="store_true", help="by SIGKILL, like a crash")
    command.set_defaults(command=stop)

    command = _with_folder(commands.add_parser("signal", help="suspend (STOP) or resume (CONT) a broker"))
    command.add_argument("--node", type=int, metavar="N", required=True)
    command.add_argument("signal", choices=SIGNALS)
    command.set_defaults(command=send)

    command = _with_folder(commands.add_parser("status", help="show the cluster; exit code 1 unless all of it is up"))
    command.add_argument("--json", action="store_true", help="print cluster.json, with a state for each server")
    command.set_defaults(command=status)
    return top


def _with_folder(command: argparse.ArgumentParser) -> argparse.ArgumentParser:
    command.add_argument("folder", type=Path, metavar="DIR", help="holds the cluster: data, logs, cluster.json, client.properties")
    return command


def install(options: argparse.Namespace) -> int:
    """Installs what is missing."""
    kits.install([kit for kit in (kits.KAFKA, kits.REGISTRY) if kit.name in (options.kit or [kit.name])], say)
    return os.EX_OK


def start(options: argparse.Namespace) -> int:
    """Starts and shows it."""
    folder = Folder(options.folder, say)
    for setting in options.setting:
        if "=" not in setting:
            raise UsageError(f"--setting {setting}: it must be KEY=VALUE")
    folder.start(options.brokers, settings=options.setting, with_registry=options.registry, node=options.node, timeout_s=options.timeout)
    _show(folder.status(), as_json=options.json)
    return os.EX_OK


def stop(options: argparse.Namespace) -> int:
    """Stops all or one."""
    Folder(options.folder, say).stop(options.node, signal.SIGKILL if options.kill else signal.SIGTERM)
    return os.EX_OK


def send(options: argparse.Namespace) -> int:
    """Suspends or resumes a broker."""
    Folder(options.folder, say).send(options.node, SIGNALS[options.signal])
    return os.EX_OK


def status(options: argparse.Namespace) -> int:
    """Shows it."""
    data = Folder(options.folder, say).status()
    _show(data, as_json=options.json)
    return os.EX_OK if all(server["state"] == "up" for server in _servers(data)) else DOWN


def _servers(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [*data["nodes"], *([data["registry"]] if data["registry"] else [])]


def _show(data: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(data, indent=2))
        return
    print(f"bootstrap servers  {data['bootstrap_servers']}")
    if data["registry"]:
        print(f"schema registry    {data['registry_url']}")
    print(f"for clients        -c {data['client_file']}")
    for server in _servers(data):
        name = f"broker {server['id']}" if "id" in server else "registry"
        process = f", process {server['pid']}" if server["state"] != "down" else ""
        print(f"{name:<18} {server['state']}{process}")
