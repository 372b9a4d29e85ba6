"""What the documents show runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> str:
    path = ROOT / page
    if not path.exists():
        pytest.skip("the documents are not here")
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL))


def run(program: list[str | Path], cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *program], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("page", "says"),
    [("README.md", "128 rows of the window read back"), ("docs/python.md", "SequenceInfo")],
)
def test_the_blocks_of_a_page_run(page: str, says: str, tmp_path: Path) -> None:
    program = tmp_path / "blocks.py"
    program.write_text(blocks(page))
    assert says in run([program], tmp_path)


def test_the_readme_is_ten_lines_or_so() -> None:
    lines = [line for line in blocks("README.md").splitlines() if line.strip()]
    assert len(lines) <= 14


def test_the_example_runs(tmp_path: Path) -> None:
    example = ROOT / "examples" / "python" / "serving_loop.py"
    if not example.exists():
        pytest.skip("the examples are not here")
    assert "16 requests" in run([example], tmp_path)


def test_the_blocks_of_the_gpu_page_are_python() -> None:
    path = ROOT / "docs" / "python_gpu.md"
    if not path.exists():
        pytest.skip("the documents are not here")
    for block in re.findall(r"^```py\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
        compile(block, "python_gpu.md", "exec")
