"""What the three roles on Kafka cost: starts a broker, a registry and the roles, sells seats with the load client, restarts them."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from scripts.perf.bench_command import BenchError, run_command
from scripts.perf.bench_standalone import ROOT, START_TIMEOUT_S, STOP_TIMEOUT_S, Figure, areas, spike

CLUSTER = ROOT / "scripts" / "kafka" / "cluster"
ROLES = ("ticket", "reservation", "event")
GOALS = {
    "sale: CPU of the roles per reservation": 120.0,
    "one client: POST to decision, p50": 40.0,
    **{f"restart of {role}, state kept": 5_000.0 for role in ROLES},
}
TICKET_PORT = 18_480


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, str, psutil.Process]]:
    """A broker and a registry: (bootstrap servers, registry's URL, the broker's process)."""
    command = [sys.executable, str(CLUSTER)]
    subprocess.run([*command, "start", str(folder), "--registry"], check=True, stdout=subprocess.DEVNULL)
    try:
        described = json.loads((folder / "cluster.json").read_text())
        yield described["bootstrap_servers"], described["registry_url"], psutil.Process(described["nodes"][0]["pid"])
    finally:
        subprocess.run([*command, "stop", str(folder), "--kill"], check=False, stdout=subprocess.DEVNULL)


def _cpu_s(process: psutil.Process) -> float:
    """Of a process and its children, so far."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        times = each.cpu_times()
        total += times.user + times.system
    return total


class Roles:
    """One supervised or single process of each role."""

    def __init__(self, folder: Path, config: Path, workers: int) -> None:
        self.port = TICKET_PORT
        self._folder = folder
        self._config = config
        self._workers = workers
        self._processes: dict[str, psutil.Popen] = {}

    def state(self, role: str) -> Path:
        return self._folder / "state" / role

    def start(self, role: str) -> float:
        """Starts a role; returns the milliseconds until it was ready. BenchError: it was not."""
        output = self._output(role)
        count = "-a" if role == "ticket" else "--workers"
        options = ["-p", str(self.port)] if role == "ticket" else []
        options += ["--log-level", "debug"]
        arguments = [role, "-c", str(self._config), "-d", str(self.state(role)), count, str(self._workers), *options]
        begun_s = time.monotonic()
        with output.open("wb") as log:
            # A session of its own: Ctrl-C is the benchmark's, which then stops the roles.
            self._processes[role] = psutil.Popen(
                [sys.executable, "-m", "ticketmaster", *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        while '"event": "ready"' not in output.read_text():
            if time.monotonic() - begun_s > START_TIMEOUT_S or self._processes[role].poll() is not None:
                raise BenchError(f"{role} did not start: {' '.join(output.read_text().split())[-300:]}")
            time.sleep(0.002)
        return 1_000 * (time.monotonic() - begun_s)

    def _output(self, role: str) -> Path:
        return self._folder / f"{role}.log"

    def restored(self, role: str) -> int:
        """The records that a role has read from its changelog since it was started."""
        lines = [json.loads(line) for line in self._output(role).read_text().splitlines() if '"event": "task_restored"' in line]
        return sum(line["records"] for line in lines)

    def stop(self, role: str) -> None:
        """Ends a role by SIGTERM."""
        process = self._processes.pop(role)
        process.terminate()
        code = process.wait(STOP_TIMEOUT_S)
        if code:
            raise BenchError(f"{role} ended with {code}")

    def stop_all(self) -> None:
        """Whatever runs."""
        while self._processes:
            self.stop(next(iter(self._processes)))

    def cpu_s(self) -> float:
        return sum(self.cpus_s().values())

    def cpus_s(self) -> dict[str, float]:
        """By role."""
        return {role: _cpu_s(process) for role, process in self._processes.items()}


class Plan(msgspec.Struct, frozen=True):
    """How much is measured."""

    runs: int
    requests: int
    in_flight: int
    areas: int
    partitions: int
    workers: int
    single_requests: int
    properties: tuple[str, ...]


class Bench:
    """Takes the figures; progress goes to the console."""

    def __init__(self, plan: Plan, console: Console, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.console = console
        self.values: dict[tuple[str, str], list[float]] = defaultdict(list)

    def say(self, text: str) -> None:
        """One line of progress."""
        self.console.print(text, highlight=False, style="dim")

    def run(self) -> list[Figure]:
        """Measures everything."""
        self.say("starting a broker and a registry")
        with cluster(self.folder / "cluster") as (servers, registry, broker):
            config = self.folder / "client.properties"
            config.write_text("\n".join([f"bootstrap.servers={servers}", f"schema.registry.url={registry}", *self.plan.properties]))
            create = [
                sys.executable,
                "-m",
                "ticketmaster",
                "topics",
                "create",
                "-c",
                str(config),
                "--partitions",
                str(self.plan.partitions),
            ]
            subprocess.run(create, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            roles = Roles(self.folder, config, self.plan.workers)
            try:
                for role in ROLES:
                    roles.start(role)
                for number in range(1, self.plan.runs + 1):
                    self._sell(roles, broker, f"run {number} of {self.plan.runs}")
                self._restart(roles)
            finally:
                roles.stop_all()
        return [
            Figure(name, unit, GOALS.get(name), statistics.median(values), min(values), max(values), [round(value, 3) for value in values])
            for (name, unit), values in self.values.items()
        ]

    def _sell(self, roles: Roles, broker: psutil.Process, of: str) -> None:
        plan = self.plan
        self.say(f"{of}: one client, {plan.single_requests} reservations one after the other")
        single = spike(roles, "-n", str(plan.single_requests), "-c", "1", "--in-flight", "1", *areas(100))
        for percent in ("p50", "p95", "p99"):
            self.values[f"one client: POST to decision, {percent}", "ms"].append(single["decision_ms"][percent])
        self.say(f"{of}: sale, {plan.requests:,} reservations, {plan.areas} areas of 20 × 20")
        before, before_broker = roles.cpus_s(), _cpu_s(broker)
        sale = spike(roles, "-n", str(plan.requests), "--in-flight", str(plan.in_flight), *areas(plan.areas))
        used = {role: 1e6 * (cpu_s - before[role]) / plan.requests for role, cpu_s in roles.cpus_s().items()}
        used_broker = 1e6 * (_cpu_s(broker) - before_broker) / plan.requests
        self.values["sale: CPU of the roles per reservation", "µs"].append(sum(used.values()))
        for role, cpu_us in used.items():
            self.values[f"sale: CPU of {role}", "µs"].append(cpu_us)
        self.values["sale: CPU of the broker", "µs"].append(used_broker)
        self.values["sale: CPU of the load client", "µs"].append(sale["client_cpu_us_per_reservation"])
        self.values["sale: reservations per s", "/s"].append(sale["reservations_per_s"])
        self.values["sale: POST to decision, p50", "ms"].append(sale["decision_ms"]["p50"])

    def _restart(self, roles: Roles) -> None:
        for role in ROLES:
            took_ms = []
            for state in ("kept", "lost"):
                self.say(f"restart of {role}, state {state}")
                roles.stop(role)
                if state == "lost":
                    shutil.rmtree(roles.state(role))
                took_ms.append(roles.start(role))
                self.values[f"restart of {role}, state {state}", "ms"].append(took_ms[-1])
            # All else takes the same time in both.
            kept_ms, lost_ms = took_ms
            if role == "reservation" and lost_ms > kept_ms:
                self.values[f"restoration of {role}: records per s", "/s"].append(1_000 * roles.restored(role) / (lost_ms - kept_ms))


def show(plan: Plan, figures: Sequence[Figure], console: Console) -> None:
    """The table."""
    title = f"three roles on Kafka · {plan.workers} × each · {plan.partitions} partitions · {plan.requests:,} requests, {plan.areas} areas"
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(("figure", "median", "range", "goal")):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for figure in figures:
        spread = "" if figure.min == figure.max else f"{figure.min:,.0f} – {figure.max:,.0f}"
        goal = "" if figure.goal is None else f"≤ {figure.goal:,.0f} {'✓' if figure.median <= figure.goal else '✗'}"
        table.add_row(figure.name, f"{figure.median:,.0f} {figure.unit}", spread, goal)
    console.print(table)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 120})
@click.option("--runs", type=click.IntRange(1, 100), default=1, help="Sales; a figure is their median.")
@click.option("--requests", type=click.IntRange(100, 10_000_000), default=100_000, help="Reservations of a sale.")
@click.option("--in-flight", type=click.IntRange(1, 100_000), default=20_000, help="Reservations under way at once.")
@click.option("--areas", "area_count", type=click.IntRange(1, 100_000), default=100, help="Areas of 20 × 20 seats.")
@click.option("--partitions", type=click.IntRange(1, 1_000), default=20, help="Partitions of every topic.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, help="Processes of each role.")
@click.option("--single-requests", type=click.IntRange(1, 100_000), default=200, help="Reservations of one client alone.")
@click.option("--property", "properties", multiple=True, metavar="KEY=VALUE", help="Added to the configuration of the roles.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path), default=None, metavar="FILE",
              help="Write the figures as JSON to FILE.")  # fmt: skip
def command(json_file: Path | None, area_count: int, properties: tuple[str, ...], **numbers: int) -> int:
    """Measure the three roles on a Kafka of one broker, all on this machine, which the load client shares.

    Needs Java and Maven, as the tests do.
    """
    plan = Plan(areas=area_count, properties=properties, **numbers)
    with tempfile.TemporaryDirectory(prefix="ticketmaster-bench-", ignore_cleanup_errors=True) as folder:
        figures = Bench(plan, Console(stderr=True), Path(folder)).run()
    console = Console()
    show(plan, figures, console if console.is_terminal else Console(width=120))
    if json_file:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(command, arguments)
