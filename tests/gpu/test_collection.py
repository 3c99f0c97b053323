"""The tests of a GPU are read where nothing can be planned or reported: its machine need not have what that takes."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.__main__ import JOBS
from benchmarks.gpu.job import CHECK

ABSENT = ("ruamel", "ruamel.yaml", "snakemake", "foolbox", "torchattacks", "adv_lib", "pyautoattack")
COLLECT = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
import pytest
sys.exit(pytest.main(["-m", "gpu", "--collect-only", "-q", "-p", "no:cacheprovider"]))
"""


@pytest.mark.slow
def test_the_tests_of_a_gpu_are_read_on_a_bare_machine(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", COLLECT], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    found = {line for line in done.stdout.splitlines() if line.startswith("tests/")}
    assert found == {f"tests/gpu/test_device.py::test_on_the_gpu[{job.name}]" for job in JOBS if job.part == CHECK}
