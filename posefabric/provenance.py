"""What a run stood on: the versions of what it used, and the state of the folder it was started in."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from typing import Any


def versions() -> dict[str, str]:
    """What the run stood on."""
    packages = (
        "posefabric",
        "torch",
        "timm",
        "numpy",
        "opencv-python-headless",
        "pillow",
        "simplejpeg",
        "lightning-fabric",
    )
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), "platform": platform.platform(), **found}


def git_state() -> dict[str, Any]:
    """Commit and cleanliness of the folder the command was started in; empty outside a repository."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": commit.stdout.strip(), "clean": not status.stdout.strip()}
