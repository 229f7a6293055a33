"""The text of docs/reliability.md, from the results of real runs: no figure in it is typed by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

Run = dict[str, Any]

_HEAD = """# What it survives

Made by `make reliability-report` from the runs named below ([reliability.json](reliability.json) has all of their results); every number
can be had again with the command beside it. A run that found something is shown like any other.

## What is promised

- No seat is in two live reservations, and of each area as many seats are gone as its live reservations have, after every single commit.
- What was acknowledged is decided, once, and what somebody was told of a decision stays true.
- The same reservation sent twice takes seats once; an event announced again changes nothing.
- Nobody who waits is left without an answer: it comes, or 503 does, in the time set.
- Every copy of the state is what its log says, byte for byte, and offsets never go back.
- What nobody can read is put aside and stops nothing.

How each is checked: [design.md](design.md#proof)."""


def render(data: dict[str, list[Run]]) -> str:
    """The whole text."""
    parts = [_HEAD, _overview(data)]
    sections = (("simulation", _simulation), ("adapter", _adapter), ("planted", _planted), ("kafka", _kafka), ("http", _http))
    for step, section in sections:
        if data.get(step):
            parts.append(section(data[step]))
    if mended := data.get("mended"):
        parts.append(_mended(mended))
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(_cell(cell) for cell in cells) + " |"

    listed = list(rows)
    rule = ["--:" if listed and isinstance(cell, int | float) else "---" for cell in (listed or [header])[0]]
    return "\n".join([line(header), f"|{'|'.join(rule)}|", *map(line, listed)])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    # What was seen names records in brackets: no links, no columns.
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|").replace("[", "\\[")


def _ran(runs: list[Run]) -> str:
    """Where and when, and by which commands."""
    commits, machines, dates = (sorted({run[name] for run in runs}) for name in ("commit", "machine", "date"))
    commands = [run["command"] for run in runs]
    shown = [f"`{commands[0]}`"] if len(commands) == 1 else [f"`{commands[0]}` … `{commands[-1]}` ({len(commands)} commands)"]
    return f"{' and '.join(shown)}; {', '.join(dates)}; commit {', '.join(commits)}; {'; '.join(machines)}."


def _total(runs: list[Run], name: str) -> Any:  # noqa: ANN401 - a count or seconds
    return sum(run["result"][name] for run in runs)


def _violations(runs: list[Run]) -> int:
    return sum(len(run["result"].get("violations") or run["result"].get("failed") or run["result"].get("findings") or ()) for run in runs)


def _overview(data: dict[str, list[Run]]) -> str:
    rows: list[Sequence[object]] = []
    if runs := data.get("simulation"):
        rows.append(("simulated sales (seeds)", _total(runs, "seeds"), _violations(runs)))
        rows.append(("simulated hours", round(_total(runs, "virtual_s") / 3600), ""))
        rows.append(("faults in them", sum(sum(run["result"]["faults"].values()) for run in runs), ""))
    if runs := data.get("adapter"):
        rows.append(("simulated sales on a simulated Kafka (seeds)", _total(runs, "seeds"), _violations(runs)))
        rows.append(("faults in these", sum(sum(run["result"]["faults"].values()) for run in runs), ""))
    if runs := data.get("planted"):
        bugs = [bug for run in runs for bug in run["result"]["bugs"]]
        rows.append(("planted bugs, of which caught", f"{len(bugs):,}, {sum(bug['seed'] is not None for bug in bugs):,}", ""))
    if runs := data.get("kafka"):
        rows.append(("faults on real Kafka", _total(runs, "faults"), _violations(runs)))
        rows.append(("processes killed on real Kafka", _total(runs, "process_kills"), ""))
        rows.append(("brokers killed", _total(runs, "broker_kills"), ""))
        rows.append(("reservations acknowledged meanwhile, all decided", _total(runs, "acknowledged"), ""))
    if runs := data.get("http"):
        rows.append(("malformed and well-formed HTTP requests", _total(runs, "requests"), _violations(runs)))
    return "## In short\n\n" + _table(("tried", "how much", "violations"), rows)


def _simulation(runs: list[Run]) -> str:
    return _seeds("Simulation", runs)


def _adapter(runs: list[Run]) -> str:
    return _seeds("Simulation of Kafka", runs)


def _seeds(title: str, runs: list[Run]) -> str:
    faults = sum((Counter(run["result"]["faults"]) for run in runs), Counter[str]())
    seeds, cpu_s, hours = _total(runs, "seeds"), _total(runs, "cpu_s"), _total(runs, "virtual_s") / 3600
    sizes = sorted({(run["result"]["commands_each"], run["result"]["faults_each"]) for run in runs})
    each = ", ".join(f"{commands:,} commands and {struck} faults, besides those of the network" for commands, struck in sizes)
    failed = [f"- seed {seed}: {found[0]}" for run in runs for seed, found in run["result"]["failed"].items()]
    sentences = (
        f"{seeds:,} seeds of {each}: {_total(runs, 'commands'):,} commands, {_total(runs, 'records'):,} records,",
        f"{hours:,.0f} simulated hours in {cpu_s / 3600:,.1f} hours of CPU ({cpu_s / seeds:.2f} s a seed:",
        f"{7_200 * seeds / cpu_s:,.0f} seeds an hour on two cores).",
        f"{len(failed) or 'No'} seed{'' if len(failed) == 1 else 's'} failed.",
    )
    table = _table(("fault", "times"), sorted(faults.items()))
    return "\n".join([f"## {title}", "", _ran(runs), "", *sentences, *failed, "", table])


def _planted(runs: list[Run]) -> str:
    result = runs[-1]["result"]
    rows = [(bug["bug"], "not caught" if bug["seed"] is None else str(bug["seed"]), bug["violation"][:100]) for bug in result["bugs"]]
    sentences = (
        "Each is planted alone, from outside, into the running program. The seed that caught it last is tried first, then those from 0 on:",
        f"{result['seeds_max']} at most, of {result['commands_each']} commands.",
    )
    return "\n".join(["## Planted bugs", "", _ran(runs[-1:]), "", *sentences, "", _table(("bug", "seed", "what is seen first"), rows)])


def _kafka(runs: list[Run]) -> str:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        for kind, found in run["result"]["kinds"].items():
            kinds.setdefault(kind, []).append(found)
    rows = [
        (
            kind,
            sum(one["times"] for one in found),
            max(float(one["unavailable_s_max"]) for one in found),
            max(float(one["wait_s_max"]) for one in found),
            sum(one["violations"] for one in found),
        )
        for kind, found in sorted(kinds.items())
    ]
    broken = [f"- {violation}" for run in runs for violation in run["result"]["violations"]]
    audits = sum(len(run["result"]["audits"]) for run in runs)
    sound = sum(audit["sound"] for run in runs for audit in run["result"]["audits"])
    skipped = sorted({f"- left out: {kind}: {why}" for run in runs for kind, why in run["result"]["skipped"].items()})
    sentences = (
        f"Three brokers, two processes of each role, buyers all the time: {_total(runs, 'acknowledged'):,} reservations acknowledged,",
        f"{_total(runs, 'decided'):,} decided in {_total(runs, 'seconds') / 60:,.0f} minutes; {audits} audits, {sound} of them sound.",
        "Clients, brokers and roles share the machine, so that times say more about the machine than about the fault.",
    )
    table = _table(("fault", "times", "longest without any decision, s", "longest wait of a buyer, s", "violations"), rows)
    commands = [f"- {_ran([run])}" for run in runs]
    return "\n".join(["## Faults on Kafka", "", *commands, "", *sentences, *broken, *skipped, "", table])


def _http(runs: list[Run]) -> str:
    statuses = sum((Counter(run["result"]["by_status"]) for run in runs), Counter[str]())
    mutations = sum((Counter(run["result"]["by_mutation"]) for run in runs), Counter[str]())
    result = runs[-1]["result"]
    findings = [f"- {finding['what']}" for run in runs for finding in run["result"]["findings"]]
    sentences = (
        f"{_total(runs, 'requests'):,} requests, drawn from the OpenAPI document and then spoilt. Each answer must be one that the",
        f"document describes, and none may be missing: {len(findings) or 'no'} findings. The server's memory went",
        f"from {result['rss_before_mib']:.0f} to {result['rss_after_mib']:.0f} MiB.",
    )
    answers = _table(("status", "answers"), sorted(statuses.items()))
    spoilt = _table(("how a request was spoilt", "requests"), sorted(mutations.items()))
    return "\n".join(["## Bad inputs", "", _ran(runs), "", *sentences, *findings, "", answers, "", spoilt])


def _mended(seeds: list[Run]) -> str:
    """Seeds of earlier commits; the results have them by hand, as no run can know what a person found out about it."""
    rows = [(str(one["seed"]), one["command"], one["commit"], one["was"], one["mended_in"]) for one in seeds]
    sentences = "Each failed at the commit that is named and was looked into. It passes since, unless it is a known gap (design.md)."
    return "\n".join(
        [
            "## Seeds that failed, and what they were",
            "",
            sentences,
            "",
            _table(("seed", "of", "failed at", "what it was", "mended in"), rows),
        ]
    )
