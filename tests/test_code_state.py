"""What was gated is on record: the commit of its code, and whether it is what was committed."""

import json
import subprocess
from pathlib import Path

import pytest

from harness.systems.code import code_place, code_state, short_name
from harness.systems.edgeflownas.versions import version
from harness.systems.spec import SystemSpec


def git(folder, *words):
    names = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *names, *words], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "system.py").write_text("x = 1\n")
    (folder / ".gitignore").write_text("site/\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_a_clean_checkout_has_a_commit(repository):
    found = code_state(repository / "code")
    assert len(found.commit) == 40
    assert (found.changed, found.untracked, found.reason) == (0, 0, "")
    assert str(found) == f"commit {found.commit[:12]}, clean"
    assert found.as_dict()["dirty"] is False


def test_what_differs_from_the_commit_is_counted(repository):
    (repository / "code" / "system.py").write_text("x = 2\n")
    (repository / "code" / "new.py").write_text("")
    found = code_state(repository / "code" / "system.py")
    assert str(found).endswith("dirty: 1 changed, 1 untracked")
    assert found.as_dict()["dirty"] is True
    # Beside the code, it is none of the system's.
    (repository / "code" / "new.py").rename(repository / "new.py")
    assert code_state(repository / "code").untracked == 0


def test_an_adapter_is_not_clean_while_the_trainer_beside_its_folder_differs(repository):
    (repository / "trainer").mkdir()
    (repository / "trainer" / "trainer.py").write_text("")
    adapter = repository / "code" / "system.py"
    assert str(code_state(adapter)).endswith("dirty: 1 untracked")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "second")
    assert str(code_state(adapter)).endswith("clean")
    (repository / "trainer" / "trainer.py").write_text("x = 3\n")
    assert str(code_state(adapter)).endswith("dirty: 1 changed")
    assert str(code_state(adapter.parent)).endswith("clean")


def test_a_worktree_is_asked_like_any_other(repository, tmp_path):
    git(repository, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    assert (tmp_path / "tree" / ".git").is_file()
    assert code_state(tmp_path / "tree") == code_state(repository)


@pytest.mark.parametrize("packed", [False, True])
def test_edgeflownas_says_its_commit_in_a_worktree_too(packed, repository, tmp_path):
    git(repository, "branch", "other")
    git(repository, "worktree", "add", "-q", str(tmp_path / "tree"), "other")
    if packed:
        git(repository, "pack-refs", "--all")
    for folder in (repository / "code", tmp_path / "tree" / "code"):
        assert version(str(folder)) == code_state(repository).commit[:12]


def test_a_hook_of_another_repository_does_not_mislead_it(repository, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(Path(__file__).parents[1] / ".git"))
    assert code_state(repository).untracked == 0


def test_what_is_not_known_is_said_with_no_path(repository, tmp_path, monkeypatch):
    installed = repository / "site" / "package"
    installed.mkdir(parents=True)
    (tmp_path / "alone").mkdir()
    for place in (tmp_path / "alone", installed, None):
        found = code_state(place)
        assert found.commit == ""
        assert found.reason
        assert "fatal" not in found.reason
        assert str(tmp_path) not in json.dumps(found.as_dict())
        assert str(found).startswith("commit not known: ")
        assert found.as_dict()["dirty"] is None
    monkeypatch.setenv("PATH", "")
    assert code_state(repository).reason == "git is not installed"


def test_a_system_is_named_without_the_folder_it_lies_in(tmp_path):
    assert short_name(SystemSpec(f"{tmp_path}/adapter.py:Mine")) == "adapter.py:Mine"
    assert short_name(SystemSpec("package.module:Mine")) == "package.module:Mine"
    assert code_place(SystemSpec("package.module:Mine"), "/x/module.py") == Path("/x/module.py")
    assert code_place(SystemSpec("edgeflownas", root=str(tmp_path))) == tmp_path
    assert code_place(SystemSpec(f"{tmp_path}/adapter.py:Mine")) == tmp_path / "adapter.py"
