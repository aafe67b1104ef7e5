"""`attnc doctor`: what this machine has, to paste into a report."""

from __future__ import annotations

import platform

from attnc import __version__
from attnc.cli.outcome import Outcome

PACKAGES = (
    "torch", "triton", "lark", "pydantic", "ruamel.yaml", "typer", "rich", "networkx",
    "safetensors", "numpy",
)  # fmt: skip


def doctor() -> Outcome:
    """Report versions and devices; exit 1 where a package is missing."""
    facts = {
        "attnc": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        **{name: _installed(name) for name in PACKAGES},
        **_devices(),
    }
    width = max(len(name) for name in facts)
    text = "".join(f"{name:<{width}}  {value}\n" for name, value in facts.items())
    return Outcome(text, facts, ok="missing" not in facts.values())


def _installed(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _devices() -> dict[str, str]:
    """Return the GPUs, as the targets to compile for."""
    try:
        import torch
    except ImportError:
        return {}
    if not torch.cuda.is_available():
        return {"gpu": "none", "target": "cpu"}
    properties = torch.cuda.get_device_properties(0)
    target = f"cuda:{properties.major}{properties.minor}"
    if torch.version.hip:
        target = f"hip:{properties.gcnArchName.partition(':')[0]}"
    return {"gpu": properties.name, "target": target}
