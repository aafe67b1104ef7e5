"""The text of generated Triton kernels, and what the backend says it can do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from attnc.backends.reference import ReferenceBackend
from attnc.backends.triton import TritonBackend
from attnc.backends.triton.examples import (
    causal,
    causal_table,
    chosen,
    duplex,
    fading,
    linear,
    sampled,
)
from attnc.backends.triton.layout import WIDTH
from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.kernel import No, Site, Target, Yes
from attnc.dsl.attention import (
    All,
    Attention,
    Band,
    Causal,
    Constant,
    Coordinate,
    Dot,
    Extent,
    Grid,
    Load,
    Neighborhood,
    RoutedRegions,
    ScoreTree,
    Source,
    Windows,
)
from attnc.dsl.dims import symbol
from attnc.dsl.graph import TensorType
from attnc.dsl.scorelang import make

B, N, M = symbol("b"), symbol("n"), symbol("m")
H_, I_, J_ = (Coordinate(name) for name in "hij")
TARGET = Target("cuda", "90")
SCALED = make("mul", Dot(), Constant(0.25))


def site(
    *sources: Source,
    name: str = "attend",
    tensors: dict[str, TensorType] | None = None,
    join: str = "softmax",
    outputs: tuple[str, ...] = ("out",),
    dim: int = 40,
    groups: int = 4,
) -> Site:
    attention = Attention(sources, join, tensors=tuple(tensors or ()), outputs=outputs)
    k, v = TensorType((B, groups, M, dim)), TensorType((B, groups, M, 24))
    q = TensorType((B, 4, N, dim))
    return Site(name, attention, q, ((k, v),) * len(sources), tuple((tensors or {}).values()))


def file(of: Site, plain: bool = True) -> str:
    kernel = TritonBackend(ReferenceBackend() if plain else None).build(of, TARGET)
    return KernelFile({of: kernel}).text


def long_site() -> Site:
    """Return a site with everything that makes lines long, under a long name."""
    table = Load("relative_position_table", (H_, make("add", make("sub", I_, J_), Extent(N))))
    pad = Load("padding_of_keys", (Coordinate("b"), J_), "bool")
    gate = Load("gate_by_head_and_batch", (Coordinate("b"), H_))
    capped = make("mul", make("tanh", make("div", Dot(), Load("heat", (H_,)))), Constant(30.5))
    return site(
        Source(Band(17, 3), make("add", SCALED, table), pad),
        Source(Causal(M - N), capped, None, make("tanh", gate)),
        name="stages_2_blocks_attention",
        join="sum",
        groups=2,
        tensors={
            "relative_position_table": TensorType((4, 2 * N)),
            "padding_of_keys": TensorType((B, M), "bool"),
            "gate_by_head_and_batch": TensorType((B, 4)),
            "heat": TensorType((4,)),
        },
    )


def windows_site() -> Site:
    """Return shifted windows with a table by distance in the window."""
    domain = Windows((7, 7), (3, 3), (1, 1), grid=Grid((56, 56), (56, 56)))
    down = make("sub", make("floordiv", I_, Constant(56)), make("floordiv", J_, Constant(56)))
    right = make("sub", make("mod", I_, Constant(56)), make("mod", J_, Constant(56)))
    places = (H_, *(make("add", each, Constant(6)) for each in (down, right)))
    score = make("add", SCALED, Load("table", places))
    attention = Attention((Source(domain, score),), tensors=("table",))
    x = TensorType((B, 4, 56 * 56, 32))
    return Site("attend", attention, x, ((x, x),), (TensorType((4, 13, 13)),))


def boxes_site() -> Site:
    """Return neighbourhoods with a table by distance, and a second source beside them."""
    domain = Neighborhood((7, 7), "truncate", (2, 2), grid=Grid((56, 56), (56, 56)))
    steps = (
        make("floordiv", make("sub", *ends), Constant(2))
        for ends in (
            (make("floordiv", J_, Constant(56)), make("floordiv", I_, Constant(56))),
            (make("mod", J_, Constant(56)), make("mod", I_, Constant(56))),
        )
    )
    places = (H_, *(make("add", each, Constant(6)) for each in steps))
    near = Source(domain, make("add", SCALED, Load("table", places)))
    x = TensorType((B, 4, 56 * 56, 32))
    pooled = TensorType((B, 4, M, 32))
    attention = Attention((near, Source(All(), SCALED)), tensors=("table",))
    sources = ((x, x), (pooled, pooled))
    return Site("attend", attention, x, sources, (TensorType((4, 13, 13)),))


def routed_site() -> Site:
    """Return regions that an index names for each head."""
    index = Load("route", (Coordinate("b"), H_), "int")
    domain = RoutedRegions(index, 4, (7, 7), Grid((56, 56), (56, 56)))
    attention = Attention((Source(domain, SCALED),), tensors=("route",))
    x = TensorType((B, 4, 56 * 56, 32))
    return Site("attend", attention, x, ((x, x),), (TensorType((B, 4, 49, 4), "int"),))


SITES = {
    "plain": site(Source(All(), SCALED)),
    "lse": site(Source(Causal(), SCALED), outputs=("lse", "out")),
    "table": causal_table(64),
    "long": long_site(),
    "windows": windows_site(),
    "boxes": boxes_site(),
    "routed": routed_site(),
    "fading": fading(64),
    "linear": linear(64),
    "duplex": duplex(64, 32),
    "gathered": chosen(64),
    "sampled": sampled(32),
}


@pytest.mark.parametrize("width", [88, 100])
@pytest.mark.parametrize("name", SITES)
def test_formatters_and_linters_have_nothing_to_say(name: str, width: int) -> None:
    # plain torch has longer lines there
    text = file(SITES[name], plain=name not in ("routed", "gathered", "sampled"))
    for command in (["format", "--check", "--diff"], ["check", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--isolated", f"--line-length={width}"]
        done = subprocess.run([*ruff, "-"], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SITES)
def test_kernels_have_no_long_lines_and_nothing_unused(name: str) -> None:
    text = file(SITES[name], plain=False)
    assert not [line for line in text.splitlines() if len(line) > WIDTH]
    functions = [each for each in ast.parse(text).body if isinstance(each, ast.FunctionDef)]
    for function in functions:
        called = re.search(rf"(?<!def )\b{function.name}\b", text)
        assert called or function.name == SITES[name].name, function.name
        names = [each for each in ast.walk(function) if isinstance(each, ast.Name)]
        assigned, read = (
            {each.id for each in names if isinstance(each.ctx, kind)}
            for kind in (ast.Store, ast.Load)
        )
        assert not assigned - read - {"_"}, function.name


@pytest.mark.parametrize("name", SITES)
def test_the_same_site_gives_the_same_bytes(name: str) -> None:
    assert file(SITES[name]) == file(SITES[name])


def test_sites_that_differ_in_name_alone_have_texts_that_do() -> None:
    """The writer of kernels.py joins kernels whose texts are equal but for the name."""
    backend = TritonBackend(ReferenceBackend())
    kernels = [
        backend.build(replace(causal_table(64), name=name), TARGET)
        for name in ("attend", "encoder")
    ]
    first, second = (re.sub(rf"\b{each.name}", "_", each.source) for each in kernels)
    assert first == second


def test_sites_that_differ_in_name_alone_are_one_kernel() -> None:
    backend = TritonBackend(ReferenceBackend())
    sites = [replace(causal_table(64), name=name) for name in ("attend", "encoder")]
    text = KernelFile({site: backend.build(site, TARGET) for site in sites}).text
    assert text.count("def attend_forward(") == 1
    assert "encoder" not in text


def test_two_kernels_share_what_they_have_in_common() -> None:
    first, second = causal(64), replace(causal(32), name="other")
    backend = TritonBackend(ReferenceBackend())
    text = KernelFile({each: backend.build(each, TARGET) for each in (first, second)}).text
    assert text.count("def load_rows(") == 1
    assert text.count("import triton\n") == 1
    assert "\ndef attend(" in text and "\ndef other(" in text


def test_a_captured_tensor_may_be_called_like_anything(tmp_path: object) -> None:
    names = ["q", "lse", "tl", "table", "table_pairs", "m0", "lambda"]
    place = make("sub", I_, J_)
    tree: ScoreTree = SCALED
    for name in names:
        tree = make("add", tree, Load(name, (H_, place)))
    of = site(Source(Causal(), tree), tensors={name: TensorType((4, N)) for name in names})
    compile(file(of), "kernels.py", "exec")


def test_products_with_numbers_are_folded_into_base_2() -> None:
    text = file(site(Source(All(), SCALED)))
    assert "s = qk * 0.36067376022224085\n" in text  # 0.25 * log2(e)
    assert "grad_q_tile * 0.25," in text


def test_windows_walk_their_own_tokens_and_read_one_table_of_all() -> None:
    text = file(windows_site())
    walks = re.findall(r"for first in .*", text)
    assert len(walks) == 3 and all("(0, PACK * 49, BLOCK_" in walk for walk in walks)
    assert "def attend_token(block, slot, length, PACK: tl.constexpr):" in text
    assert "(programs,)" in text and "programs = batch * heads * triton.cdiv(81, pack)" in text
    assert "i // 7 - j // 7 + 6, i % 7 - j % 7 + 6" in text
    assert "pair_grad = by_query(q, parts, heads, 49, 49)" in text


@pytest.mark.parametrize(("side", "reason"), [(4, "4 blocks of 16"), (5, "2 blocks of 25")])
def test_small_windows_fill_a_tile(side: int, reason: str) -> None:
    domain = Windows((side, side), (0, 0), (1, 1), grid=Grid((20, 20), (20, 20)))
    x = TensorType((B, 4, 400, 32))
    of = Site("attend", Attention((Source(domain, SCALED),)), x, ((x, x),))
    answer = TritonBackend().can(of, TARGET)
    assert isinstance(answer, Yes)
    assert f"{reason} tokens share a tile of 64 queries" in answer.reasons
    assert re.findall(r"pack = (.*)", file(of)) == [
        f"max(1, {rows} // {side * side})" for rows in ("block_i", "block_i", "block_j")
    ]


@pytest.mark.parametrize(
    ("dim", "parts"), [(96, (64, 32)), (80, (64, 16)), (40, (32, 8)), (24, (24,)), (192, (192,))]
)
def test_columns_stand_in_two_parts_where_that_is_less_padding(
    dim: int, parts: tuple[int, ...]
) -> None:
    text = file(causal(dim), plain=False)
    forward = text[text.index("def attend_forward(") : text.index("def attend_launch(")]
    loaded = re.findall(r"q_\w+ = load_rows\(.*?q_strides, (\d+), (\d+)", forward)
    assert [int(width) for width, _ in loaded] == [*parts]
    assert all(int(width) <= int(padded) for width, padded in loaded)


def test_boxes_walk_what_they_see_and_are_seen_by() -> None:
    text = file(boxes_site())
    walks = re.findall(r"for first in tl\.range\((.*), num_stages", text)
    walks += re.findall(r"for first in range\((.*)\):", text)
    assert {"0, 196, BLOCK_J", "0, 196, BLOCK_I"} < {*walks}
    assert "pair_grad0 = by_query(q, parts, heads, 64, 196)" in text


def test_division_is_plain_where_it_cannot_go_wrong() -> None:
    blocks = make("floordiv", I_, Constant(7))
    mirrored = make("floordiv", make("sub", I_, J_), Constant(7))
    plain = site(Source(All(), make("add", SCALED, make("float", blocks))))
    assert "i // 7" in file(plain) and "floor_divide" not in file(plain)
    assert "floor_divide(i - j, 7)" in file(
        site(Source(All(), make("add", SCALED, make("float", mirrored))))
    )


def test_it_can_on_every_card_of_the_table() -> None:
    for target in ("cuda:80", "cuda:90", "cuda:100", "hip:gfx942"):
        kind, arch = target.split(":")
        answer = TritonBackend().can(causal_table(64), Target(kind, arch))
        assert isinstance(answer, Yes)
        assert any("closed form" in reason for reason in answer.reasons)
        assert any("deterministic" in reason for reason in answer.reasons)


WEIGHTED = Source(All(), SCALED, weight=Load("gate", (I_,)))
UNKNOWN = Source(All(), make("mul", SCALED, make("float", Extent(symbol("elsewhere")))))


@pytest.mark.parametrize(
    ("of", "target", "reason"),
    [
        (causal(64), Target(), "no GPU"),
        (causal(64), Target("cuda", "75"), "not checked"),
        (causal(512), TARGET, "over 256"),
        (site(Source(All(), SCALED), groups=3), TARGET, "do not divide"),
        (site(Source(All(), SCALED), outputs=("out", "weights")), TARGET, "weights"),
        (
            site(*[Source(All(), SCALED)] * 2, join="sum", outputs=("out", "lse")), TARGET, "lse",
        ),
        (
            site(WEIGHTED, WEIGHTED, join="sum", tensors={"gate": TensorType((N,))}), TARGET,
            "weight of a source",
        ),
        (site(UNKNOWN), TARGET, "elsewhere"),
    ],
    ids=["cpu", "card", "width", "heads", "weights", "lse", "weight", "size"],
)  # fmt: skip
def test_it_says_why_it_cannot(of: Site, target: Target, reason: str) -> None:
    answer = TritonBackend().can(of, target)
    assert isinstance(answer, No)
    assert any(reason in each for each in answer.reasons), answer.reasons
