"""What a GPU must show: every check of `python -m benchmarks.gpu`, on the GPU of this machine; skipped without one."""

from pathlib import Path

import pytest
import torch

from benchmarks.gpu.__main__ import JOBS
from benchmarks.gpu.job import CHECK, Job, NotHere, Site
from benchmarks.gpu.machine import set_up

GPU = torch.device("cuda")
CHECKS = [pytest.param(job, id=job.name) for job in JOBS if job.part == CHECK]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.filterwarnings("default")  # a compiler warns of what it does not use of a card: no fault of ours
@pytest.mark.parametrize("job", CHECKS)
def test_on_the_gpu(job: Job, tmp_path: Path) -> None:
    set_up(GPU)
    try:
        job.run(Site(GPU, tiny=False, scratch=tmp_path))
    except NotHere as reason:
        pytest.skip(str(reason))
