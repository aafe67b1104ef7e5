"""The YAML notation: structure in YAML, statements and expressions in its strings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping as Table, Sequence as List
from dataclasses import replace
