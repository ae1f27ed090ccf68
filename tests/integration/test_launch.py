"""Python plugins from source really start, with the host's arguments and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from vconnect.packages.command import dev_command, host_arguments


@pytest.mark.parametrize(
    ("project", "files"),
    [
        ("", {"plugin.py": "import sys; print(sys.argv[1:])\n"}),
        ("demo", {"demo.py": "import sys; print(sys.argv[1:])\n"}),
        (
            "my-demo",
            {
                "my_demo/__init__.py": "",
                "my_demo/text.py": "import sys\nWORDS = sys.argv[1:]\n",
                "my_demo/__main__.py": "from .text import WORDS\nprint(WORDS)\n",
            },
        ),
        (
            "my.demo",
            {
                "src/my_demo/__init__.py": "",
                "src/my_demo/text.py": "import sys\nWORDS = sys.argv[1:]\n",
                "src/my_demo/__main__.py": "from .text import WORDS\nprint(WORDS)\n",
            },
        ),
    ],
)
def test_python_from_source(tmp_path: Path, project: str, files: dict[str, str]) -> None:
    if project:
        (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "{project}"\n')
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    arguments = host_arguments("/run/x.sock", True, "debug")
    command = [*dev_command("demo", tmp_path), *arguments]
    assert command[0] == sys.executable
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    assert done.stdout == f"{arguments}\n"
