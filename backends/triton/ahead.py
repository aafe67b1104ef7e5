"""Kernels compiled ahead: an archive of machine code beside kernels.py, for Triton to find.

Triton keeps what it compiled under a key of source, signature, options and its own version. The
archive holds its entries for the cards asked for, in the form and under the keys that it would
itself make there; kernels.py puts those of the card at hand into Triton's cache. A call that needs
anything else (another dtype, strides with other divisors, another Triton) is compiled as ever.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from triton import knobs
from triton.compiler import CompiledKernel

from attnc.backends.triton.machine import compiled, kernels_of
from attnc.compiler.kernel import MachineCode, Site, Target

ARCHIVE = "machine_code.zip"

LOADER = '''\
def use_machine_code(card=None, archive=Path(__file__).with_name("machine_code.zip")):
    """Put machine code for a card, this one unless stated, where Triton looks for it.

    It serves bfloat16 and the Triton that made it; all else Triton compiles when it is needed.
    """
    from triton.runtime.cache import get_cache_manager

    if card is None and torch.version.hip:
        card = "hip-" + torch.cuda.get_device_properties(0).gcnArchName.split(":")[0]
    elif card is None:
        card = "cuda-{}{}".format(*torch.cuda.get_device_capability())
    with zipfile.ZipFile(archive) as files:
        for name in files.namelist():
            folder, key, head = name.split("/")
            cache = get_cache_manager(key)
            if folder != card or not head.endswith(".json") or cache.get_group(head):
                continue
            code = [other for other in files.namelist() if other.startswith(f"{card}/{key}/")]
            group = {each.split("/")[2]: files.read(each) for each in code}
            put = {each: cache.put(data, each, binary=True) for each, data in group.items()}
            cache.put_group(head, put)


if torch.cuda.is_available() and Path(__file__).with_name("machine_code.zip").exists():
    use_machine_code()
'''
"""What kernels.py ends with."""

IMPORTS = ("import zipfile", "from pathlib import Path")

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of all entries: equal kernels give equal bytes."""


def machine_code(
    sites: Mapping[str, Site], targets: Sequence[Target], sizes: Mapping[str, int]
) -> MachineCode:
    """Return the machine code of the kernels of a file, to be compiled once its text is known.

    Args:
        sites: name of the entry function -> what it computes.
        targets: cards to compile for.
        sizes: values of the symbols of the sites' shapes.
    """
    return MachineCode(ARCHIVE, LOADER, IMPORTS, partial(_archive, sites, targets, sizes))


def _archive(
    sites: Mapping[str, Site], targets: Sequence[Target], sizes: Mapping[str, int], text: str
) -> bytes:
    module = kernels_of(text)
    # of sites whose kernels are one the file has the first
    there = [site for name, site in sites.items() if hasattr(module, name)]
    entries: dict[str, bytes] = {}
    # what Triton's own cache holds may have been compiled from a file elsewhere
    with tempfile.TemporaryDirectory() as fresh, knobs.cache.scope():
        knobs.cache.dir = fresh
        for target in targets:
            for site in there:
                for made in compiled(module, site, target, torch.bfloat16, sizes).values():
                    folder = f"{str(target).replace(':', '-')}/{made.hash}"
                    entries |= {f"{folder}/{name}": data for name, data in _entry(made)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as files:
        for name in sorted(entries):
            files.writestr(zipfile.ZipInfo(name, _EPOCH), entries[name], zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _entry(made: CompiledKernel) -> Iterator[tuple[str, bytes]]:
    """Yield the files that Triton needs to run a kernel: its metadata and its code."""
    for name, path in made.metadata_group.items():
        if name.endswith(".json"):
            yield name, _without_paths(Path(path).read_text()).encode()
        elif name.endswith((".cubin", ".hsaco")):
            yield name, Path(path).read_bytes()


def _without_paths(metadata: str) -> str:
    """Return metadata without the folder that Triton is installed in."""
    data = json.loads(metadata)
    libraries = data.get("extern_libs")
    if libraries:
        data["extern_libs"] = [[name, Path(path).name] for name, path in libraries]
    return json.dumps(data, sort_keys=True)
