"""Given products, duplex attention and post expressions on their way through the compiler."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import attnc
from attnc.api import Compilation
from attnc.compiler.cost import flops
from attnc.compiler.sites import site_of, site_operands, site_types, with_types
from attnc.dsl.graph import TensorType

torch.set_num_threads(1)

TWO_WAY = """model m() {
  input q: [b, 2, n, 4]
  input k: [b, 2, m, 4]
  input v: [b, 2, m, 3]
  input u: [b, 2, n, 5]
  o, back = attend(q, k, v, vq = u, normalize = softmax(keys, queries))
  output y = o
  output z = back
}"""
GIVEN = """model m() {
  input s: [b, 2, m, n]
  input v: [b, 2, m, 3]
  input gate: [2]
  t = transpose(s) * 2
  o, got = attend(scores = t, v = v * 3, post = w * qk * gate[h], outputs = [received])
  output y = o
  output z = got
}"""
LOOKUP = """model lookup(d = 8) {
  input x: [b, n, d]
  input z: [b, m, d]
  q = rearrange(linear(z, d) @q, "b n (h e) -> b h n e", h=2)
  k = rearrange(linear(x, d) @k, "b n (h e) -> b h n e", h=2)
  v = rearrange(linear(x, d) @v, "b n (h e) -> b h n e", h=2)
  gathered, scores = attend(q, k, v, outputs = [scores])
  z += rearrange(gathered, "b h n e -> b n (h e)")
  back = rearrange(linear(z, d) @vz, "b n (h e) -> b h n e", h=2)
  o = attend(scores = transpose(scores), v = back)
  output y = rearrange(o, "b h n e -> b n (h e)")
}"""


def compiled(text: str) -> nn.Module:
    return attnc.compile(attnc.loads(text)).double()


def test_duplex_attention_runs_as_one_kernel() -> None:
    q, k, v, u = (torch.randn(2, 2, *size).double() for size in ((5, 4), (3, 4), (3, 3), (5, 5)))
    found = compiled(TWO_WAY)(q, k, v, u)
    scores = q @ k.transpose(-2, -1) / 2
    torch.testing.assert_close(found["y"], scores.softmax(-1) @ v)
    torch.testing.assert_close(found["z"], scores.softmax(-2).transpose(-2, -1) @ u)


def test_a_scale_of_given_scores_joins_them_and_one_of_values_stays() -> None:
    s, v, gate = torch.randn(2, 2, 3, 5), torch.randn(2, 2, 3, 3), torch.randn(2)
    model = compiled(GIVEN)
    found = model(s.double(), v.double(), gate.double())
    scores = s.double().transpose(-2, -1) * 2
    weights = scores.softmax(-1) * scores * gate.double()[:, None, None]
    torch.testing.assert_close(found["y"], weights @ (v.double() * 3))
    torch.testing.assert_close(found["z"], weights.sum(-2))
    compilation = model.attnc
    assert isinstance(compilation, Compilation)
    files = compilation.artefact.files
    assert "* 3" in files["model.py"] and "* 2" not in files["model.py"]


def test_scores_of_one_attention_serve_another_later() -> None:
    model = compiled(LOOKUP)
    x, z = torch.randn(2, 5, 8).double(), torch.randn(2, 3, 8).double()

    def heads(name: str, of: Tensor) -> Tensor:
        return model.get_submodule(name)(of).unflatten(-1, (2, 4)).transpose(1, 2)

    scores = heads("q", z) @ heads("k", x).transpose(-2, -1) / 2
    later = z + (scores.softmax(-1) @ heads("v", x)).transpose(1, 2).flatten(2)
    wanted = scores.transpose(-2, -1).softmax(-1) @ heads("vz", later)
    torch.testing.assert_close(model(x, z), wanted.transpose(1, 2).flatten(2))


def test_sites_keep_their_operands() -> None:
    for text, names in ((TWO_WAY, ["q", "k0", "v0", "vq"]), (GIVEN, ["q", "v0", "t0"])):
        (site,) = (
            site_of(node)
            for node in attnc.check(attnc.loads(text)).body.nodes
            if node.op == "attend"
        )
        assert [name for name, _ in site_operands(site)] == names
        assert with_types(site, site_types(site)) == site
        longer = [TensorType((7, *type_.shape[1:])) for type_ in site_types(site)]
        assert with_types(site, longer).sources[0][0].shape[0] == 7


def test_flops_count_both_readings_and_no_product_that_is_given() -> None:
    sizes = {"b": 1, "n": 10, "m": 20}
    assert flops(attnc.check(attnc.loads(TWO_WAY)), sizes) == 2 * 2 * 10 * 20 * (4 + 3 + 5)
    assert flops(attnc.check(attnc.loads(GIVEN)), sizes) == 2 * 2 * 10 * 20 * 3


def test_the_plan_says_what_is_done_with_scores() -> None:
    sizes = {"b": 1, "n": 8, "m": 8}
    text = attnc.plan(attnc.loads(GIVEN), sizes=sizes).text()
    assert "scores [b, 2, n, m], v [b, 2, m, 3]: qk * 2" in text
    assert "here the products are given" in text
    text = attnc.plan(attnc.loads(TWO_WAY), sizes=sizes).text()
    assert "vq [b, 2, n, 5]: qk * 0.5, normalize = softmax(keys, queries)" in text
