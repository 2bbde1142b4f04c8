"""The workflow file beside .ci/run: what it names exists, and agrees with pyproject.toml and the README."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".ci" / "workflow.yml"


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"]
    return found


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"].strip() for step in job["steps"] if "run" in step]


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return found


def named_versions() -> list[str]:
    """The versions of Python that the package says it is for."""
    names = re.findall(r"Python :: (3\.\d+)$", "\n".join(project()["classifiers"]), re.MULTILINE)
    assert names and project()["requires-python"] == f">={names[0]}"
    return names


def test_it_says_where_it_belongs() -> None:
    first = WORKFLOW.read_text("utf-8").splitlines()[0]
    assert first.startswith("#") and ".github/workflows/ci.yml" in first


def test_everything_is_one_script(jobs: dict[str, Any]) -> None:
    assert commands(jobs["everything"]) == [".ci/run"]
    script = ROOT / ".ci" / "run"
    assert script.read_text("utf-8").startswith("#!/usr/bin/env bash\n")
    (setup,) = (step["with"] for step in jobs["everything"]["steps"] if "python-version" in step.get("with", {}))
    assert setup["python-version"] == named_versions()[0]


def test_the_suite_runs_on_every_system_with_every_version_that_is_claimed(jobs: dict[str, Any]) -> None:
    matrix = jobs["suite"]["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    assert matrix["python"] == named_versions()
    # What it leaves out is what .ci/run does.
    assert matrix["exclude"] == [{"os": jobs["everything"]["runs-on"], "python": named_versions()[0]}]


def test_the_suite_is_run_as_the_readme_says(jobs: dict[str, Any]) -> None:
    *_, command = commands(jobs["suite"])
    assert f"{command}\n" in (ROOT / "README.md").read_text("utf-8")
    extras = re.findall(r"\[([^\]]*)\]", command)[0].split(",")
    assert set(extras) <= set(project()["optional-dependencies"])


def test_every_job_fetches_the_checkout_and_keeps_what_pip_downloads(jobs: dict[str, Any]) -> None:
    for job in jobs.values():
        fetch, setup = (step for step in job["steps"] if "uses" in step)
        assert fetch["uses"].startswith("actions/checkout@") and setup["uses"].startswith("actions/setup-python@")
        assert setup["with"]["cache"] == "pip"
        for pattern in setup["with"]["cache-dependency-path"].split():
            assert list(ROOT.glob(pattern)), pattern
        assert job["timeout-minutes"] <= 60


def test_the_constraints_are_where_the_suite_looks_for_them(jobs: dict[str, Any]) -> None:
    place = jobs["suite"]["env"]["PIP_CONSTRAINT"]
    assert (ROOT / place.removeprefix("${{ github.workspace }}/")).is_file()
