"""Unit and integration tests on every Python from 3.11 on that this machine has, beside the one of `make test`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
MAIN = f"{sys.version_info.major}.{sys.version_info.minor}"  # the one that runs nox: `make test` has tested it in full

nox.options.default_venv_backend = "virtualenv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_venv = "yes"
nox.options.sessions = [f"tests-{version}" for version in PYTHONS if version != MAIN]


def runs(python: str | Path, version: str) -> bool:
    """Whether this is an interpreter of that version: a pyenv shim may be on PATH and fail when it is called."""
    report = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", report], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def pyenv_folder(version: str) -> Path | None:
    """The folder of pyenv's newest interpreter of that version that runs."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    releases = [path for path in root.glob(f"{version}.*") if re.fullmatch(r"3\.\d+\.\d+", path.name)]
    for release in sorted(releases, key=lambda path: int(path.name.rsplit(".")[-1]), reverse=True):
        if runs(release / "bin" / f"python{version}", version):
            return release / "bin"
    return None


def find_interpreters() -> None:
    """Put pyenv's interpreters on PATH where what is there does not run."""
    for version in PYTHONS:
        on_path = shutil.which(f"python{version}")
        if on_path and runs(on_path, version):
            continue
        if folder := pyenv_folder(version):
            os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


find_interpreters()


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run unit and integration tests on one Python."""
    session.install("--quiet", "--editable", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or ["tests/unit", "tests/integration"]))


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.run("make", "lint", external=True)


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Check types."""
    session.run("make", "types", external=True)
