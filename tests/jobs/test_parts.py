"""What is kept of a worst case while it is not whole."""

import pandas as pd
import torch
from toy_jobs import model_id
from toy_records import header, points

from touchstone.evaluation.result import Result, query_flags
from touchstone.jobs.parts import Blocks, Parts
from touchstone.paths import Results
from touchstone.records import Header


def test_a_block_is_loaded_as_it_was_kept_until_the_whole_is_there(results: Results) -> None:
    parts = Parts(results, model_id())
    counts: list[int] = []

    def over(samples: int, found: Result) -> Header:
        counts.append(samples)
        return header("worst-linf", flags=found.flags)

    blocks, other = (Blocks(parts, key, over) for key in ("a1", "b2"))
    found = Result(points(epsilon=[0.1] * 4), {"epsilon-0.1": torch.rand(2, 1, 4, 4)}, query_flags(["solver_failed"]))
    for one in (blocks, other):
        one.keep(1, found)
    assert counts == [found.records["sample"].nunique()] * 2
    again = blocks.load(1)
    pd.testing.assert_frame_equal(again.records, found.records)
    assert again.flags == found.flags
    assert torch.equal(again.examples["epsilon-0.1"], found.examples["epsilon-0.1"])
    assert blocks.load(0) is None
    blocks.clear()
    assert blocks.load(1) is None
    assert other.load(1) is not None, "blocks of another attack stay"
