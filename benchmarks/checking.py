"""How checking grows with the spec: a chain of n blocks, time and memory of the whole process.

Each size runs in a process of its own. Prints a table; the last column is the time over that of a
size ten times smaller, which is 10 or less where growth is linear.
"""

from __future__ import annotations

import subprocess
import sys

SPEC = """
model chain(depth = {depth}, dim = 64, heads = 4) {{
  input x: [b, n, dim]
  block layer(x: [b, n, d]; heads, index) -> [b, n, d] {{
    x += self_attention(layer_norm(x) @norm1, heads=heads) @attn
    x += mlp(layer_norm(x) @norm2) @mlp
    return x
  }}
  repeat depth as i {{ x = layer(x, heads=heads, index={index}) @layers }}
  output y = x
}}
"""
PROGRAM = """
import resource, sys, time
from attnc.dsl.elaborate import elaborate
from attnc.dsl.load import parse
from attnc.dsl.diagnostics import Collector
from attnc.dsl.spans import Source
start = time.perf_counter()
collector = Collector()
spec = parse(Source("chain.attn", sys.stdin.read()), collector)
collector.raise_if_any()
graph = elaborate(spec)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(time.perf_counter() - start, peak, "torch" in sys.modules)
"""
SIZES = (100, 400, 1000, 4000)


def measure(depth: int, index: str) -> tuple[float, float]:
    """Return seconds and peak MiB of checking `depth` blocks."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=SPEC.format(depth=depth, index=index),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, peak, has_torch = done.stdout.split()
    if has_torch != "False":
        raise RuntimeError("checking a spec imported torch")
    return float(seconds), float(peak)


def main() -> None:
    """Print one table for equal blocks, one for blocks that all differ."""
    for title, index in (("equal blocks", "0"), ("every block different", "i")):
        print(f"{title}\n{'blocks':>8} {'seconds':>9} {'MiB':>7} {'ms a block':>11}")
        for depth in SIZES:
            seconds, peak = measure(depth, index)
            print(f"{depth:>8} {seconds:>9.3f} {peak:>7.0f} {1000 * seconds / depth:>11.3f}")


if __name__ == "__main__":
    main()
