"""The commands and programs of the documentation run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "getting-started.md"
FENCE = re.compile(r"```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)```", re.S)


def test_getting_started_runs(tmp_path: Path) -> None:
    ran = 0
    for kind, title, text in FENCE.findall(PAGE.read_text()):
        if title:
            (tmp_path / title).write_text(text)
        elif kind == "bash":
            script = f'attnc() {{ "{sys.executable}" -m attnc "$@"; }}\nset -e\n{text}'
            subprocess.run(["bash", "-c", script], check=True, cwd=tmp_path)
            ran += 1
        elif kind == "python":
            subprocess.run([sys.executable, "-c", text], check=True, cwd=tmp_path)
            ran += 1
    assert ran >= 5
