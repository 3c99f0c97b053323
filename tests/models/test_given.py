"""Weights by others: read without running anything, fitted into a net, or refused with what is wrong and what to do."""

import hashlib
import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from touchstone.data import DATASETS
from touchstone.models.classifier import Given, build
from touchstone.models.given import WeightsError, fit_into, read, taken_out

FOREIGN = "toy_nets:foreign"


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 3), bn=nn.BatchNorm2d(2), fc=nn.Linear(4, 3)))


STATE = net().state_dict()


def saved(folder: Path, content: Any, name: str = "weights.pt") -> tuple[Path, str]:
    """Write a file with torch.save, or bytes as they are; return it and its sum."""
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (STATE, ""),
        ({"epoch": 3, "state_dict": STATE}, ""),
        ({"net": STATE, "ema": net().double().state_dict(), "optimizer": {"state": {}, "lr": 0.1}}, "net"),
        ({"net": STATE, "ema": {"shadow": net().double().state_dict()}, "step": {0: {"w": torch.zeros(1)}}}, ""),
        ({"model": {"state_dict": STATE, "epoch": 1}, "optimizer": {"state": {0: {"w": torch.zeros(1)}}}}, ""),
        ({"net": {"w": torch.zeros(1)}, "ema": {"shadow": STATE, "at": {"w": torch.zeros(1)}}}, "ema.shadow"),
        ({"model": {name: nn.Parameter(v.float()) for name, v in STATE.items() if "num" not in name}, "acc": 0.5}, ""),
    ],
    ids=["plain", "wrapped", "several", "outer", "inner", "named-inner", "parameters"],
)
def test_a_state_dict_is_found_where_it_is(tmp_path: Path, content: Any, key: str) -> None:
    state = read(*saved(tmp_path, content), "torch", key)
    assert all(torch.equal(value, STATE[name]) for name, value in state.items())
    assert len(state) >= len(STATE) - 1


def test_safetensors_are_read(tmp_path: Path) -> None:
    assert same(read(*saved(tmp_path, safetensors.torch.save(STATE)), "safetensors"), STATE)


def test_a_header_of_safetensors_may_begin_like_a_page(tmp_path: Path) -> None:
    """Its first bytes are a length, which may read as blanks and a '<'."""
    short = safetensors.torch.save(STATE, {"by": ""})
    missing = 0x3C20 - int.from_bytes(short[:8], "little")
    content = safetensors.torch.save(STATE, {"by": "x" * missing})
    assert content.lstrip().startswith(b"<")
    assert same(read(*saved(tmp_path, content), "safetensors"), STATE)


def test_a_header_of_safetensors_may_begin_like_a_pickle(tmp_path: Path) -> None:
    short = safetensors.torch.save(STATE, {"by": ""})
    missing = 0x1080 - int.from_bytes(short[:8], "little")
    content = safetensors.torch.save(STATE, {"by": "x" * missing})
    assert content.startswith(b"\x80")
    assert same(read(*saved(tmp_path, content), "safetensors"), STATE)


def test_numbered_tensors_are_no_weights(tmp_path: Path) -> None:
    numbered = {0: torch.zeros(1), 1: torch.zeros(1)}
    assert same(read(*saved(tmp_path, {"net": STATE, "shares": numbered}), "torch"), STATE)
    with pytest.raises(WeightsError, match=r"no mapping of names to tensors: it has 0 \(Tensor\), 1 \(Tensor\); save"):
        read(*saved(tmp_path, numbered), "torch")


def test_a_file_saved_on_cuda_is_read_on_the_cpu(tmp_path: Path) -> None:
    """Its storages name their device; since no GPU is at hand, the name is put into a file of the old form."""
    content = io.BytesIO()
    torch.save(STATE, content, _use_new_zipfile_serialization=False)
    cuda = content.getvalue().replace(b"\x03\x00\x00\x00cpu", b"\x06\x00\x00\x00cuda:0")
    assert b"cuda:0" in cuda
    assert same(read(*saved(tmp_path, cuda), "torch"), STATE)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "model.", "net.encoder."])
def test_prefixes_of_wrapped_nets_go(prefix: str) -> None:
    made = net()
    nn.init.zeros_(made.fc.weight)
    fit_into(made, {prefix + name: value for name, value in STATE.items()}, "it")
    assert same(made.state_dict(), STATE)


def test_a_prefix_that_hides_no_name_of_the_net_stays() -> None:
    for names in (["conv.weight", "conv.bias"], ["body", "body.conv.weight"], ["a.conv.weight", "b.conv.bias"]):
        with pytest.raises(WeightsError, match=r"missing: .*bn\.bias"):
            fit_into(net(), dict.fromkeys(names, torch.zeros(1)), "it")


def test_batches_that_an_old_batch_norm_has_not_counted_may_be_missing() -> None:
    old = {name: value + 1 for name, value in STATE.items() if "num_batches" not in name}
    made = net()
    fit_into(made, {f"module.{name}": value for name, value in old.items()}, "it")
    assert same({name: value for name, value in made.state_dict().items() if name in old}, old)
    met = dict(STATE) | {"bn.num_batches_tracked": torch.tensor(7)}
    fit_into(made, met, "it")
    assert int(made.get_buffer("bn.num_batches_tracked")) == 7


class Evil:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('ran')",))


REFUSED: list[tuple[str, Any, str, list[str]]] = [
    ("html", b"\n<!DOCTYPE html><html>...", "torch", ["an HTML page, and not the file: download the file itself"]),
    ("bom", b"\xef\xbb\xbf<!doctype html>...", "torch", ["an HTML page"]),
    ("xml", b"<?xml version='1.0'?><Error><Code>AccessDenied", "torch", ["an XML text, as a server's refusal is"]),
    ("lfs", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "torch", ["Git LFS pointer", "git lfs pull"]),
    ("pickle", {"net": net()}, "torch", ["holds more than tensors", "torch.save(model.state_dict(), file)"]),
    ("evil", pickle.dumps(Evil(), protocol=2), "torch", ["holds more than tensors"]),
    ("cut-torch", ..., "torch", ["no whole file of torch.save"]),
    ("cut-safetensors", safetensors.torch.save(STATE)[:-9], "safetensors", ["no whole safetensors file"]),
    ("text", b"epoch,loss\n1,0.5\n", "torch", ["no file of torch.save: it begins with b'epoch,loss"]),
    ("nothing", b"", "torch", ["weights.pt is empty"]),
    ("404", b"Not Found", "torch", ["no file of torch.save: it begins with b'Not Found'"]),
    ("other-ending", safetensors.torch.save(STATE), "torch", ["a safetensors file", "or say `format: safetensors`"]),
    ("ending", ..., "safetensors", ["a file of torch.save", "or say `format: torch`"]),
    ("list", [1, 2], "torch", ["holds a list, not a mapping of names to tensors"]),
    ("several", {"x": {"a": STATE, "b": STATE}}, "torch", ["2 mappings of tensors (x.a, x.b): say which by `key`"]),
    ("several", {"a": STATE, "b": STATE}, "torch", ["2 mappings of tensors (a, b): say which by `key`"]),
    ("none", {"epoch": 1}, "torch", ["no mapping of names to tensors: it has epoch (int); save", "net.state_dict()"]),
    ("nothing", {}, "torch", ["no mapping of names to tensors: it has nothing; save"]),
    ("mixed", {**STATE, "epoch": 1}, "torch", ["it has epoch (int), conv.weight (Tensor), ", "and 5 more; save"]),
    ("nan", {"w": torch.tensor([1.0, torch.nan])}, "torch", ["not finite: w"]),
]


@pytest.mark.parametrize(("content", "form", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_no_weights_is_refused(tmp_path: Path, content: Any, form: Any, said: list[str]) -> None:
    if content is ...:
        whole = saved(tmp_path, STATE, "whole.pt")[0].read_bytes()
        content = whole[:-200] if form == "torch" else whole
    path, total = saved(tmp_path, content)
    with pytest.raises(WeightsError) as caught:
        read(path, total, form)
    assert str(path) in str(caught.value)
    assert all(part in str(caught.value) for part in said), caught.value
    assert ("--unsafe-unpickle" in str(caught.value)) is ("holds more than tensors" in str(caught.value))


@pytest.mark.filterwarnings("ignore:.*torch.*:FutureWarning", "ignore:.*TorchScript.*:UserWarning")
def test_a_program_is_told_from_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.script(net()), str(path))
    with pytest.raises(WeightsError, match="is a TorchScript program, and to read it would be to run it: save the"):
        read(path, hashlib.sha256(path.read_bytes()).hexdigest(), "torch")
    assert same(safetensors.torch.load(taken_out(path)), STATE)


def test_another_sum_and_another_key_are_said(tmp_path: Path) -> None:
    path, total = saved(tmp_path, {"net": STATE, "ema": STATE})
    with pytest.raises(WeightsError, match=f"expected sha256 {'0' * 64}, got {total}"):
        read(path, "0" * 64, "torch")
    with pytest.raises(WeightsError, match="no mapping of tensors under 'model'; it has: net, ema"):
        read(path, total, "torch", "model")
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        read(tmp_path / "none.pt", total, "torch")
    plain, total = saved(tmp_path, STATE, "plain.pt")
    with pytest.raises(WeightsError, match="no mapping of tensors under 'model'; it is one itself: leave that out"):
        read(plain, total, "torch", "model")


def test_names_and_shapes_that_do_not_fit_are_listed() -> None:
    state = {name: value for name, value in STATE.items() if name != "conv.bias"}
    state |= {"head.weight": torch.zeros(1), "fc.weight": torch.zeros(10, 4)}
    made = net()
    with pytest.raises(WeightsError) as caught:
        fit_into(made, state, "w.pt")
    assert str(caught.value) == (
        "w.pt does not fit Sequential: missing: conv.bias; not expected: head.weight; "
        "of another shape: fc.weight is (10, 4) instead of (3, 4)"
    )
    assert same(made.state_dict(), STATE)


def test_weights_of_another_net_are_told_in_a_few_words() -> None:
    foreign = {f"layer{number:02}.weight": torch.zeros(1) for number in range(60)}
    with pytest.raises(WeightsError) as caught:
        fit_into(net(), foreign, "w.pt")
    said = str(caught.value)
    assert (
        "not expected: layer00.weight, layer01.weight, layer02.weight, layer03.weight, layer04.weight, and 55 more"
        in said
    )
    assert said.endswith("no name is in both: are these weights of this net?")


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.bool, torch.complex64])
def test_weights_of_another_kind_of_number_are_refused(kind: torch.dtype) -> None:
    """Those of a quantized net, say: copied as they are, they would be 127 times too large."""
    state = dict(STATE) | {"fc.weight": torch.ones(3, 4).to(kind)}
    with pytest.raises(WeightsError, match=rf"of another type: fc\.weight is {kind} instead of torch\.float32"):
        fit_into(net(), state, "w.pt")
    fit_into(net(), {name: value.double() for name, value in STATE.items()}, "w.pt")


@pytest.mark.parametrize("whole", [False, True])
def test_a_classifier_begins_with_them_under_either_names(whole: bool) -> None:
    """Those of the net as its author has them, or of a classifier as this project saves it."""
    digits = DATASETS["digits"]
    trained = build(FOREIGN, digits, seed=1)
    state = dict(trained.state_dict())
    if not whole:
        state = {name.removeprefix("net.").removeprefix("body."): v for name, v in state.items() if "net." in name}
        state = {name.replace("fc1.", "last."): value for name, value in state.items()}
    model = build(FOREIGN, digits, seed=0, given=Given(state, "it"))
    assert same(model.state_dict(), trained.state_dict())
    x = torch.rand(3, *digits.shape)
    assert torch.equal(model.eval()(x), trained.eval()(x))
