"""Machine code of generated kernels for cards that are not here, held to its budget.

A process of its own compiles: in this one Triton may be in its interpreter. `make kernels` does
the same for every tile of the table.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from attnc.backends.triton.backend import TritonBackend
from attnc.backends.triton.configs import CAPABILITIES, KINDS, LENGTHS, SAFE, TILES, tile_table
from attnc.backends.triton.examples import EXAMPLES
from attnc.backends.triton.gathered import configs as gathered
from attnc.backends.triton.resident import configs as resident
from attnc.compiler.kernel import Site, Target

SCRIPT = """
import json, sys
from dataclasses import asdict
from attnc.backends.triton.crosscompile import cross_compile, over_budget
from attnc.backends.triton import examples
from attnc.compiler.targets import parse_target

target = parse_target(sys.argv[1])
site = vars(examples)[sys.argv[4]](int(sys.argv[2]), *map(int, sys.argv[5:]))
made = cross_compile(site, target, sizes={"n": int(sys.argv[3])})
print(json.dumps({k: [asdict(found), over_budget(found, target)] for k, found in made.items()}))
"""


@pytest.mark.parametrize(
    ("target", "dim", "length", "example"),
    [
        ("cuda:80", 64, 1000, "causal_table"),
        ("cuda:90", 64, 1000, "causal_table"),
        ("cuda:90", 32, 1000, "windows"),
        ("cuda:90", 64, 1000, "biased"),
        ("cuda:100", 64, 1000, "causal_table"),
        ("hip:gfx942", 64, 1000, "causal_table"),
    ],
)
def test_kernels_are_within_budget(target: str, dim: int, length: int, example: str) -> None:
    made = compiled(target, dim, length, example)
    last = "offsets" if example == "causal_table" else "pairs"
    assert {*made} == {*KINDS[:3], last}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.__name__)
def test_every_example_has_kernels(example: Callable[[int], Site]) -> None:
    source = TritonBackend().build(example(96), Target("cuda", "90")).source
    compile(source, "kernels.py", "exec")
    assert "@jit(" in source


def test_kernels_that_change_their_result_are_within_budget() -> None:
    assert {*compiled("cuda:90", 64, 1000, "followed")} == {"forward", "queries", "keys"}


def test_kernels_of_competing_queries_are_within_budget() -> None:
    turned = {"turned_forward", "turned_queries", "turned_keys"}
    assert {*compiled("cuda:90", 64, 1000, "competing")} == {*turned, "weights_forward"}


def test_kernels_that_walk_keys_twice_are_within_budget() -> None:
    assert {*compiled("cuda:90", 64, 1000, "squared")} == {"forward", "queries", "keys"}


@pytest.mark.parametrize(("target", "dim"), [("cuda:90", 128), ("hip:gfx942", 64)])
def test_kernels_that_norm_and_rotate_rows_are_within_budget(target: str, dim: int) -> None:
    assert {*compiled(target, dim, 1000, "rotated")} == {"forward", "queries", "keys"}


@pytest.mark.parametrize("target", ["cuda:90", "hip:gfx942"])
def test_resident_kernels_are_within_budget(target: str) -> None:
    made = compiled(target, 64, 1000, "duplex", 32)
    assert {*made} == {*resident.KINDS}


@pytest.mark.parametrize("example", ["chosen", "sampled"])
@pytest.mark.parametrize("target", ["cuda:90", "hip:gfx942"])
def test_kernels_of_gathered_rows_are_within_budget(target: str, example: str) -> None:
    made = compiled(target, 64, 1000, example)
    assert {*made} == {*gathered.KINDS}


def test_lists_beside_tiles_of_keys_are_within_budget() -> None:
    assert {*compiled("cuda:80", 64, 1000, "joint")} == {"forward", "queries", "keys0", "keys1"}


def compiled(target: str, dim: int, length: int, example: str, *others: int) -> Iterable[str]:
    """Return the names of the kernels of an example, all of them within their budget."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, target, str(dim), str(length), example,
         *map(str, others)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    for name, (found, wrong) in made.items():
        assert not wrong, f"{name}: {found}"
        assert 0 < found["registers"] <= (512 if target.startswith("hip") else 255)
    names: Iterable[str] = made
    return names


@pytest.mark.parametrize("target", CAPABILITIES)
def test_the_table_covers_every_head_dim_and_length(target: str) -> None:
    for table in (TILES[target], SAFE):
        assert [*table] == [32, 64, 128, 256]
        for tiles in table.values():
            assert [*tiles] == [*KINDS]
            assert all([*by_length] == [*LENGTHS] for by_length in tiles.values())
            assert all(tile.queries == tile.keys for tile in tiles["offsets"].values())
            for by_length in tiles.values():
                for tile in by_length.values():
                    sides = (tile.queries, tile.keys)
                    # tl.dot takes 16 at least; copies by pair have room for tiles of 128
                    assert all(side in (16, 32, 64, 128) for side in sides)


def test_equal_length_classes_are_written_once() -> None:
    table = tile_table("attend_tiles", [Target("cuda", "90")], 200)
    names: dict[str, dict[str, dict[object, dict[object, tuple[int, ...]]]]] = {}
    exec(table, {}, names)
    for rows in names["attend_tiles"].values():
        for by_length in rows.values():
            tiles = list(by_length.values())
            assert [*by_length][-1] is None
            assert all(a != b for a, b in pairwise(tiles))
