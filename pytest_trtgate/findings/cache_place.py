"""Whether the engine cache is kept in a folder that outlives the job, told from where it is and where we run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..records import read_bytes

NOTEBOOKS: Mapping[str, str] = {"COLAB_RELEASE_TAG": "/content", "KAGGLE_KERNEL_RUN_TYPE": "/kaggle"}
"""Variables that hosted notebooks set, and the folder whose content goes with the session."""
KEPT_IN_NOTEBOOKS = ("/content/drive", "/content/gdrive")
_CACHES = re.compile(r"uses:\s*['\"]?(?:[\w./-]*cache(?:/restore)?@|\./)")
"""A step of a GitHub workflow that restores a cache: ``actions/cache`` or another action of that name.

Or an action or a workflow of the repository's own, which may have such a step.
"""
_GITLAB_CACHES = re.compile(r"\b(?:cache|include):")
"""A cache of GitLab CI, or another file that may have one."""


def why_thrown_away(root: Path, environ: Mapping[str, str], temporary: Sequence[str]) -> str:
    """Return why a folder will not outlive the job, as the end of a sentence; empty where it will, for all we know."""
    place = root.resolve()
    if (above := _under(place, temporary)) is not None:
        return f"{above} is for temporary files"
    for variable, folder in NOTEBOOKS.items():
        if environ.get(variable) and _under(place, [folder]) and not _under(place, KEPT_IN_NOTEBOOKS):
            return f"what is in {folder} goes with the notebook's session"
    if environ.get("GITHUB_ACTIONS") == "true":
        return _on_github(place, environ)
    if environ.get("GITLAB_CI") == "true":
        project = environ.get("CI_PROJECT_DIR", "")
        if project and _under(place, [project]) and not _has(Path(project) / ".gitlab-ci.yml", _GITLAB_CACHES):
            return "this job's checkout is discarded and .gitlab-ci.yml has no cache"
    return ""


def _on_github(place: Path, environ: Mapping[str, str]) -> str:
    """Return why a folder on a runner of GitHub Actions is thrown away; empty where a step of the workflow caches."""
    workspace = environ.get("GITHUB_WORKSPACE", "")
    own = [folder for folder in (workspace, environ.get("RUNNER_TEMP", "")) if folder]
    hosted = environ.get("RUNNER_ENVIRONMENT") == "github-hosted"
    if not hosted and _under(place, own) is None:
        return ""
    # owner/repository/.github/workflows/gate.yml@refs/heads/main
    named = re.search(r"\.github/workflows/[^@]+", environ.get("GITHUB_WORKFLOW_REF", ""))
    workflows = [Path(workspace) / named[0]] if named else sorted(Path(workspace).glob(".github/workflows/*.y*ml"))
    if not workspace or any(not path.is_file() or _has(path, _CACHES) for path in workflows):
        return ""
    what = "the runner" if hosted else "this job's workspace"
    return f"{what} is discarded and the workflow has no step that caches it"


def _under(place: Path, folders: Sequence[str]) -> str | None:
    return next((folder for folder in folders if place.is_relative_to(Path(folder).resolve())), None)


def _has(path: Path, pattern: re.Pattern[str]) -> bool:
    """Return whether a file has a text; True where it cannot be read, since then nobody can say that it has not."""
    try:
        return bool(pattern.search(read_bytes(path).decode(errors="replace")))
    except OSError:
        return True
