"""The lowest releases that pyproject.toml allows, as constraints for pip: `make oldest`.

python tests/oldest.py > oldest.txt
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
BOUNDED = re.compile(r"(?P<name>[\w.-]+)>=(?P<lowest>[\d.]+)(?:,<[\d.]+)?(?P<marker> *;.*)?")


def constraints(requirements: Iterable[str]) -> Iterator[str]:
    """Yield each requirement at its lowest release: `torch==2.11.*` for `torch>=2.11,<2.14`.

    Raises:
        ValueError: one has no lower bound, so that nobody knows what it runs on.
    """
    for each in requirements:
        found = BOUNDED.fullmatch(each)
        if found is None:
            raise ValueError(f"{each} names no lowest release")
        yield f"{found['name']}=={found['lowest']}.*{found['marker'] or ''}"


if __name__ == "__main__":
    settings = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    print("\n".join(constraints(settings["project"]["dependencies"])))
