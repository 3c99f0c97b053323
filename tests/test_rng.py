import time

import pytest
import torch
from scipy import stats

from touchstone.rng import GAMMA, SampleRng, _hash, _hash_, _signed, as_rng

# first outputs of SplitMix64 seeded with 0, from the reference implementation of Vigna (splitmix64.c)
REFERENCE = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]


def rng(count: int = 5, seed: int = 3) -> SampleRng:
    return SampleRng(seed, torch.arange(count) * 7 + 2)


def test_mixing_is_splitmix64_in_python_and_in_torch() -> None:
    words = torch.tensor([_signed(k * GAMMA) for k in range(4)])
    assert [w % (1 << 64) for w in _hash_(words).tolist()] == REFERENCE
    assert [_hash(k * GAMMA % (1 << 64)) for k in range(4)] == REFERENCE


@pytest.mark.parametrize("draw", ["uniform", "normal"])
def test_a_draw_belongs_to_the_sample_not_to_the_batch(draw: str) -> None:
    whole, rows = rng(), torch.tensor([3, 0, 3])
    expected = getattr(whole, draw)((2, 3), restart=1, step=4)[rows]
    assert torch.equal(getattr(whole.at(rows), draw)((2, 3), restart=1, step=4), expected)
    assert torch.equal(whole.at(torch.tensor([True, False, False, True, False])).index, whole.index[[0, 3]])


def test_a_draw_larger_than_a_tile_is_the_same_row_by_row() -> None:
    whole = rng(300).uniform((1000,))
    assert torch.equal(rng(300).at(torch.tensor([299])).uniform((1000,))[0], whole[299])


@pytest.mark.parametrize("change", [{"restart": 1}, {"step": 1}, {"stream": 1}])
def test_restart_step_and_stream_give_other_numbers(change: dict[str, int]) -> None:
    assert (rng().uniform((64,)) == rng().uniform((64,), **change)).float().mean() < 0.02


def test_seed_and_index_give_other_numbers() -> None:
    u = torch.cat([rng(40).uniform((64,)), rng(40, seed=4).uniform((64,))])
    assert len(u.unique()) > 0.999 * u.numel()


def test_shifted_makes_one_restart_of_many() -> None:
    assert torch.equal(rng().shifted(2).uniform((4,), restart=1), rng().uniform((4,), restart=3))
    assert torch.equal(rng().shifted(2).at(torch.tensor([1])).uniform((4,)), rng().uniform((4,), restart=2)[1:2])


def test_uniform_is_uniform_within_and_across_samples() -> None:
    u = rng(400).uniform((400,), dtype=torch.float64)
    assert u.min() >= 0
    assert u.max() < 1
    for line in (u.flatten(), u[:, 0], u[0]):
        assert stats.kstest(line.numpy(), "uniform").pvalue > 1e-3
    steps = torch.stack([rng(1).uniform((), step=k) for k in range(2000)]).flatten()
    assert stats.kstest(steps.numpy(), "uniform").pvalue > 1e-3
    assert abs(torch.corrcoef(u)[0, 1:]).max() < 5 / 20  # neighbours in the data set are unrelated


def test_normal_is_normal_and_bounded() -> None:
    z = rng(300).normal((300,), dtype=torch.float64).flatten()
    assert stats.kstest(z.numpy(), "norm").pvalue > 1e-3
    assert z.abs().max() < 5.8


def test_integers_cover_the_range_evenly() -> None:
    counts = rng(500).integers(7, (100,)).flatten().bincount()
    assert len(counts) == 7
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert rng(1000).integers(1 << 31, ()).max() > 2e9  # no sign, no wrap
    assert rng(1000).integers(1 << 31, ()).min() >= 0


def test_float32_and_float64_draw_the_same_uniform_numbers() -> None:
    assert torch.equal(rng().uniform((50,)).double(), rng().uniform((50,), dtype=torch.float64))


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    rng().normal((10,))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_ten_thousand_images_take_less_than_half_a_second() -> None:
    whole = rng(10_000)
    start = time.process_time()
    whole.uniform((784,))
    assert time.process_time() - start < 0.5


def test_as_rng_takes_a_seed_or_a_generator_of_the_right_length() -> None:
    seeded = as_rng(3, 4, "cpu")
    assert torch.equal(seeded.uniform(()), SampleRng(3, torch.arange(4)).uniform(()))
    assert torch.equal(as_rng(rng().shifted(1), 5, "cpu").uniform(()), rng().uniform((), restart=1))
    with pytest.raises(ValueError, match="rng is for 5 samples, got a block of 4"):
        as_rng(rng(), 4, "cpu")


def test_wrong_index_and_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"index must be \(B,\) int64, got \(3,\) torch.float32"):
        SampleRng(0, torch.zeros(3))
    for high in (0, (1 << 31) + 1):
        with pytest.raises(ValueError, match="high must be in"):
            rng().integers(high, ())


def test_an_empty_block_draws_nothing() -> None:
    assert rng(0).uniform((3,)).shape == (0, 3)
