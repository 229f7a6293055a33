"""A data directory before it is used: whether its state can be written, and is of its log."""

from __future__ import annotations

from pathlib import Path

from ticketmaster.bootstrap.stores import STORES
from ticketmaster.writable import check_folder, check_space, check_stores


def check_state(folder: Path, partitions: int) -> None:
    """UsageError: state can't be written. What does not exist yet is made where its role begins."""
    if not folder.exists() and not folder.is_symlink():
        return
    check_folder(folder)
    check_space(folder)
    applications = [folder / application_id for application_id in STORES]
    for application in applications:
        check_folder(application)
    check_stores(application / str(partition) for application in applications for partition in range(partitions))
