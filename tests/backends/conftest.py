"""What tests of generated kernels share: Triton's interpreter, and files of kernels as modules."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

from attnc.compiler.emit.kernels_file import KernelFile
from attnc.compiler.kernel import Kernel, Site

# Without a GPU kernels run in Triton's interpreter, which is chosen when triton is imported.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

Load = Callable[[Site, Kernel], ModuleType]


@pytest.fixture(scope="session")
def load_kernels(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Import the file that holds the kernel of a site."""
    folder = tmp_path_factory.mktemp("kernels")
    modules: dict[str, ModuleType] = {}

    def load(site: Site, kernel: Kernel) -> ModuleType:
        text = KernelFile({site: kernel}).text
        if text not in modules:
            modules[text] = import_file(folder / f"kernels_{len(modules)}.py", text)
        return modules[text]

    return load


def import_file(path: Path, text: str) -> ModuleType:
    """Write and import a module; Triton reads the source of kernels from the file."""
    path.write_text(text)
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
