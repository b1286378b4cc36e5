"""What is said where an extra is not installed."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("missing", ["torch", "einops"])
def test_without_torch_the_extra_is_named(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; import fpigauss_torch"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode != 0
    assert 'ImportError: fpigauss_torch needs torch and einops: pip install "fpigauss[torch]"' in (
        ended.stderr
    )
