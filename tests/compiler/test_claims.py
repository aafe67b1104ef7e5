"""Claims about a model held against what is counted, by formula and by torch."""

from __future__ import annotations

import pytest

import attnc
from attnc.api import check_claims
from attnc.compiler.claims import Verdict

SPEC = """
attnc 1
model m(d = 8) {{
  variant v {{
    d = 16
    claims = {claims}
  }}
  input x: [b, n, d]
  x = linear(x, d) @a
  output y = reshape(attend(heads(x), heads(x), heads(x), domain = causal), [b, n, d])
  block heads(x: [b, n, d]) {{
    return reshape(x, [b, 1, n, d])
  }}
}}
"""
PARAMS = 16 * 16 + 16
MACS = 10 * 16 * 16 + 2 * 16 * (10 * 11 // 2)


def judged(claims: str) -> tuple[Verdict, ...]:
    return check_claims(attnc.loads(SPEC.format(claims=claims), "m.attn"), "v")


@pytest.mark.parametrize(
    ("claim", "ok"),
    [
        (f"params: {{value: {PARAMS}}}", True),
        (f"params: {{value: {PARAMS + 1}}}", False),
        (f"params: {{value: {PARAMS + 1}, tolerance: 0.01}}", True),
        (f"macs: {{value: {MACS}, at: {{n: 10}}}}", True),
        (f"macs: {{value: {MACS * 1.015}, at: {{n: 10}}}}", True),
        (f"macs: {{value: {MACS * 1.03}, at: {{n: 10}}}}", False),
        (f"macs: {{value: {MACS * 1.015}, at: {{n: 10}}, tolerance: 0.01}}", False),
        (f"macs: {{value: {MACS}, at: {{n: 11}}}}", False),
        (f"macs: {{value: {2 * MACS}, at: {{n: 10, b: 2}}}}", True),
        (f"flops: {{value: {2 * MACS}, at: {{n: 10}}}}", True),
        ('top1: {value: 81.5, source: "table 2"}', None),
    ],
)
def test_what_becomes_of_a_claim(claim: str, ok: bool | None) -> None:
    (verdict,) = judged(f"{{{claim}}}")
    assert verdict.ok is ok


def test_torch_counts_what_the_formula_says_for_all_pairs() -> None:
    (verdict,) = judged(f"{{flops: {{value: {2 * MACS}, at: {{n: 10}}}}}}")
    formula, torch = verdict.counts
    assert formula.found == 2 * MACS
    assert torch.found == torch.expected == 2 * (10 * 16 * 16 + 2 * 16 * 100)


def test_a_counter_that_disagrees_with_the_formula_fails_the_claim() -> None:
    (verdict,) = judged(f"{{params: {{value: {PARAMS}}}}}")
    graph_count, torch_count = verdict.counts
    off = Verdict(verdict.claim, (graph_count, type(torch_count)("torch module", 1, PARAMS)))
    assert verdict.ok and not off.ok


def test_sampled_boxes_are_counted_by_their_slots() -> None:
    spec = """
    attnc 1
    model m() {
      variant v {
        claims = {macs: {value: 11520, tolerance: 0}}
      }
      input x: [b, 1, 20, 4]
      input at: [b, 20, 2]
      output y = attend(x, x, x, grid = [4, 5], domain = sampled(at, 2), score = -l1(q, k))
      output z = attend(x, x, x, grid = [4, 5], domain = sampled(at, 2))
    }
    """
    (verdict,) = check_claims(attnc.loads(spec, "m.attn"), "v")
    slots = 6 * 6
    assert [count.found for count in verdict.counts] == [20 * slots * 16, 20 * slots * 12]
    assert verdict.counts[1].error == 0
