"""What the kernel says of a container's first process: whether it is held as it should be."""

from __future__ import annotations

from pathlib import Path


def problems(status: str, mounts: str, uid: int) -> list[str]:
    """From /proc/PID/status and mountinfo: none, if it is this user, has no capability and gets none, and can't write to its root."""
    values = {name: value.split() for name, _, value in (line.partition(":") for line in status.splitlines())}
    found = []
    if set(values["Uid"]) != {str(uid)}:
        found.append(f"it runs as {values['Uid']}, not as {uid}")
    found += [f"{name} is {values[name][0]}" for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(values[name][0], 16)]
    if values["NoNewPrivs"] != ["1"]:
        found.append("it may get new privileges")
    if values["NSpid"][-1] != "1":
        found.append(f"it is process {values['NSpid'][-1]} in its container, not the first")
    roots = [fields[5].split(",") for fields in map(str.split, mounts.splitlines()) if fields[4] == "/"]
    if not roots or "ro" not in roots[-1]:
        found.append("its root can be written")
    return found


def problems_of(pid: int, uid: int) -> list[str]:
    """The same of a process that runs."""
    folder = Path("/proc", str(pid))
    return problems((folder / "status").read_text(), (folder / "mountinfo").read_text(), uid)
