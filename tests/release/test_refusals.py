"""`make release` builds what can be told apart later: a commit, with a new version and a changelog."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.release.refusals import Refused, git, refuse

VERSION = "1.2.3"
CHANGELOG = "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-11-27\n\n### Added\n\n- A thing.\n\n## 1.2.2 - 2026-01-01\n\n- Another.\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository that is ready to be released."""
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "init", "--quiet")
    commit(tmp_path)
    return tmp_path


def commit(tree: Path) -> None:
    """Everything that is there."""
    git(tree, "add", "--all")
    for setting in ("user.name=Ann", "user.email=ann@example.org", "commit.gpgsign=false"):
        git(tree, "config", *setting.split("="))
    git(tree, "commit", "--quiet", "--message", "A change")


def test_a_commit_with_a_new_version_in_its_changelog_is_released(tree: Path) -> None:
    refuse(tree, VERSION)


def test_a_changed_file_is_refused_and_named(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text(CHANGELOG + "- More.\n")

    with pytest.raises(Refused, match=r"in no commit, e\.g\. CHANGELOG\.md"):
        refuse(tree, VERSION)


def test_a_new_file_is_refused_and_named(tree: Path) -> None:
    (tree / "notes.txt").write_text("")

    with pytest.raises(Refused, match=r"in no commit, e\.g\. notes\.txt"):
        refuse(tree, VERSION)


def test_a_tagged_version_is_refused(tree: Path) -> None:
    git(tree, "tag", f"v{VERSION}")

    with pytest.raises(Refused, match=r"v1\.2\.3 is tagged already"):
        refuse(tree, VERSION)


@pytest.mark.parametrize(
    "text", ["# Changelog\n\n## 1.2.30 - 2026-11-27\n\n- A thing.\n", "## 1.2.3\n\n- A thing.\n", "## 1.2.3 - 2026-11-27\n"]
)
def test_a_version_without_a_dated_section_that_says_something_is_refused(tree: Path, text: str) -> None:
    (tree / "CHANGELOG.md").write_text(text)
    commit(tree)

    with pytest.raises(Refused, match=r"no section `## 1\.2\.3 - YYYY-MM-DD`"):
        refuse(tree, VERSION)


def test_lines_under_unreleased_are_refused(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text(CHANGELOG.replace("## Unreleased\n", "## Unreleased\n\n### Fixed\n\n- A fault.\n"))
    commit(tree)

    with pytest.raises(Refused, match="lines under Unreleased"):
        refuse(tree, VERSION)


def test_a_folder_without_a_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="git status: fatal: not a git repository"):
        refuse(tmp_path, VERSION)
