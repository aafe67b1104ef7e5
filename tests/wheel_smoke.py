"""Install a wheel in a fresh environment and use it: `python tests/wheel_smoke.py dist/*.whl`.

The dependencies are lent by the environment that runs this; attnc comes from the wheel alone.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path


def main(wheel: str) -> None:
    """Run the commands a new user would run first."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        venv.create(home / "venv", with_pip=True)
        python = home / "venv" / "bin" / "python"
        install = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            str(Path(wheel).resolve()),
        ]
        subprocess.run(install, check=True)
        site = next((home / "venv" / "lib").glob("python*/site-packages"))
        (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
        attnc = str(home / "venv" / "bin" / "attnc")
        for command in (
            ["--version"], ["check", "zoo:vit", "zoo:crossvit", "zoo:sentence_encoder"],
            ["explain", "self_attention"], ["explain", "E203"],
            ["compile", "zoo:vit", "--variant", "tiny", "-o", "out"],
        ):  # fmt: skip
            subprocess.run([attnc, *command], check=True, cwd=home, stdout=subprocess.DEVNULL)
        program = (
            "import attnc, torch; from out import Vit; "
            "assert '.venv' not in attnc.__file__, attnc.__file__; "
            "print(Vit().eval()(torch.randn(1, 3, 224, 224)).shape)"
        )
        subprocess.run([str(python), "-c", program], check=True, cwd=home)
    print("wheel: 1 passed, 0 failed")


if __name__ == "__main__":
    main(sys.argv[1])
