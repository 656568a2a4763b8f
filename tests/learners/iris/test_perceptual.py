from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from learners.config import DatasetConfig, LearnerConfig
from learners.iris import convert_perceptual
from learners.iris.config import missing_weights_message
from learners.iris.iris import Iris
from learners.iris.perceptual import Perceptual, weight_shapes
from learners.learner import Learner
from tests.learners.fakes import TINY_IRIS, make_chunk, with_tiny

# torchvision's VGG16 as its state dict has it: index of each convolution in `features`, and where LPIPS reads (the ReLU
# after the last convolution of a stage). Written out by hand, apart from the code under test.
TORCHVISION_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
TORCHVISION_POOLS = (4, 9, 16, 23)
TORCHVISION_TAPS = (3, 8, 15, 22, 29)
CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
TAP_CHANNELS = (64, 128, 256, 512, 512)


def images(seed: int, size: int = 32, num_images: int = 2) -> Tensor:
    return torch.rand((num_images, 3, size, size), generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """On a machine whose cores are busy, two threads that wait for each other take thirty times as long as one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def vgg() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    state = {}
    for place, index in enumerate(TORCHVISION_CONVOLUTIONS):
        inputs, outputs = CHANNELS[place], CHANNELS[place + 1]
        weight = torch.randn((outputs, inputs, 3, 3), generator=generator)
        state[f"features.{index}.weight"] = weight * (2 / (9 * inputs)) ** 0.5
        state[f"features.{index}.bias"] = torch.randn((outputs,), generator=generator) * 0.1
    return state


@pytest.fixture(scope="module")
def heads() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        f"lin{tap}.model.1.weight": torch.rand((1, channels, 1, 1), generator=generator)
        for tap, channels in enumerate(TAP_CHANNELS)
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, vgg: dict[str, Tensor], heads: dict[str, Tensor]) -> Path:
    """vgg.pth and heads.pth with the names and shapes of the published files, and out.safetensors made from them."""
    folder = tmp_path_factory.mktemp("perceptual")
    torch.save({**vgg, "classifier.0.weight": torch.zeros(1)}, folder / "vgg.pth")
    torch.save(heads, folder / "heads.pth")
    assert convert_perceptual.main([str(folder / name) for name in ("vgg.pth", "heads.pth", "out.safetensors")]) == 0
    return folder


@pytest.fixture(scope="module")
def perceptual(folder: Path) -> Perceptual:
    return Perceptual.load(folder / "out.safetensors")


def naive_lpips(vgg: dict[str, Tensor], heads: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
    """The published computation, layer by layer and channel by channel, from the published state dicts."""
    features_of = {}
    for name, image in (("x", x), ("y", y)):
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        features = (image - shift[None, :, None, None]) / scale[None, :, None, None]
        taps = []
        for index in range(30):
            if index in TORCHVISION_CONVOLUTIONS:
                weight, bias = vgg[f"features.{index}.weight"], vgg[f"features.{index}.bias"]
                features = F.conv2d(features, weight, bias, stride=1, padding=1)
            elif index in TORCHVISION_POOLS:
                features = F.max_pool2d(features, kernel_size=2, stride=2)
            else:
                features = features.clamp(min=0)
            if index in TORCHVISION_TAPS:
                taps.append(features)
        features_of[name] = taps
    distances = torch.zeros(len(x))
    for tap in range(5):
        of_x, of_y = features_of["x"][tap], features_of["y"][tap]
        length_x, length_y = (of_x**2).sum(1).sqrt(), (of_y**2).sum(1).sqrt()
        weight = heads[f"lin{tap}.model.1.weight"]
        per_pixel = torch.zeros_like(length_x)
        for channel in range(of_x.shape[1]):
            difference = of_x[:, channel] / (length_x + 1e-10) - of_y[:, channel] / (length_y + 1e-10)
            per_pixel += weight[0, channel, 0, 0] * difference**2
        distances += per_pixel.mean(dim=(1, 2))
    return distances


def test_distance_is_the_published_computation_on_the_published_names(
    perceptual: Perceptual, vgg: dict[str, Tensor], heads: dict[str, Tensor]
):
    x, y = images(3, size=64), images(4, size=64)
    y[1] = x[1] + 0.1 * y[1]
    distances = perceptual(x, y)
    assert distances.shape == (2,)
    torch.testing.assert_close(distances, naive_lpips(vgg, heads, x, y), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_dropout_leaves_out_squared_differences_and_keeps_their_mean(perceptual: Perceptual):
    torch.manual_seed(0)
    x, y = torch.rand(1, 3, 16, 16) * 2 - 1, torch.rand(1, 3, 16, 16) * 2 - 1
    whole = perceptual(x, y)
    drawn = torch.stack([perceptual(x, y, dropout=0.5) for _ in range(300)])  # (300, 1)
    assert drawn.std() > 0.01 * whole
    torch.testing.assert_close(drawn.mean(dim=0), whole, rtol=0, atol=5 * float(drawn.std()) / 300**0.5)
    assert perceptual(x, y, dropout=1.0) == 0.0


@torch.no_grad()
def test_dropout_is_drawn_from_torchs_generator(perceptual: Perceptual):
    x, y = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    torch.manual_seed(1)
    first = perceptual(x, y, dropout=0.5)
    assert not torch.equal(perceptual(x, y, dropout=0.5), first)
    torch.manual_seed(1)
    assert torch.equal(perceptual(x, y, dropout=0.5), first)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_gradient_step_of_the_tokenizer_drops_what_its_setting_says(monkeypatch: pytest.MonkeyPatch, dropout: float):
    """And a measurement has no such term."""
    changes = {"perceptual": "vgg16", "perceptual_dropout": dropout}
    agent = with_tiny(tokenizer=TINY_IRIS.tokenizer.model_copy(update=changes))
    learner = Learner(agent, DatasetConfig(), LearnerConfig(), seed=0, device="cpu")
    assert isinstance(learner.algorithm, Iris)
    learner.algorithm.perceptual = Perceptual.random(0)
    learner.extend([make_chunk([5, 9, 4])])
    seen = []
    forward = Perceptual.forward
    monkeypatch.setattr(
        Perceptual, "forward", lambda *pair, dropout: seen.append(dropout) or forward(*pair, dropout=dropout)
    )
    assert "loss/perceptual" in learner.train("tokenizer", 1, range(1))
    learner.inspect(1)
    assert seen == [dropout]


def test_distance_of_an_image_to_itself_is_zero(perceptual: Perceptual):
    x = images(5)
    assert perceptual(x, x.clone()).tolist() == [0.0, 0.0]


def test_distance_is_symmetric_and_positive(perceptual: Perceptual):
    x, y = images(6), images(7)
    torch.testing.assert_close(perceptual(x, y), perceptual(y, x), rtol=0, atol=0)
    assert (perceptual(x, y) > 0).all()


def test_each_pair_has_its_own_distance(perceptual: Perceptual):
    x, y = images(8, num_images=3), images(9, num_images=3)
    one_by_one = torch.cat([perceptual(x[n : n + 1], y[n : n + 1]) for n in range(3)])
    torch.testing.assert_close(perceptual(x, y), one_by_one, rtol=1e-5, atol=0)


def test_gradient_reaches_the_images_and_not_the_network(perceptual: Perceptual):
    x, y = images(10), images(11).requires_grad_()
    perceptual(x, y).sum().backward()
    assert y.grad is not None
    assert (y.grad != 0).any(dim=1).all()
    assert not any(parameter.requires_grad for parameter in perceptual.parameters())
    assert all(parameter.grad is None for parameter in perceptual.parameters())


def test_gradient_is_the_slope_of_the_distance(perceptual: Perceptual):
    double = Perceptual(perceptual.state_dict()).double()
    x, y = images(12, size=16, num_images=1).double(), images(13, size=16, num_images=1).double().requires_grad_()
    direction = images(14, size=16, num_images=1).double()
    double(x, y).sum().backward()
    assert y.grad is not None
    step = 1e-8  # larger ones cross the kink of some ReLU
    with torch.no_grad():
        slope = (double(x, y + step * direction) - double(x, y - step * direction)) / (2 * step)
    torch.testing.assert_close((y.grad * direction).sum(), slope[0], rtol=1e-5, atol=0)


def test_gradient_is_finite_where_every_channel_of_a_tap_is_zero(perceptual: Perceptual):
    silent = {
        name: torch.full_like(tensor, -1.0)
        if name == "trunk.conv3_3.bias"
        else tensor * (name != "trunk.conv3_3.weight")
        for name, tensor in perceptual.state_dict().items()
    }
    y = images(15).requires_grad_()
    Perceptual(silent)(images(16), y).sum().backward()
    assert y.grad is not None
    assert y.grad.isfinite().all()


def test_the_scale_of_a_taps_features_does_not_matter(perceptual: Perceptual):
    faint = {
        name: tensor * (1e-6 if name.startswith("trunk.conv5_3") else 1.0)
        for name, tensor in perceptual.state_dict().items()
    }
    x, y = images(20), images(21)
    torch.testing.assert_close(Perceptual(faint)(x, y), perceptual(x, y), rtol=1e-4, atol=0)


def test_it_stays_in_evaluation_mode_inside_a_module_that_trains(perceptual: Perceptual):
    around = torch.nn.Sequential(perceptual).train()
    assert around.training
    assert not any(module.training for module in perceptual.modules())


def test_images_of_different_or_wrong_shapes_are_refused(perceptual: Perceptual):
    with pytest.raises(ValueError, match=r"found images \(2, 3, 32, 32\) and \(1, 3, 32, 32\)"):
        perceptual(images(17), images(17, num_images=1))
    with pytest.raises(ValueError, match=r"expected twice \(N, 3, H, W\)"):
        perceptual(images(17)[:, :1], images(17)[:, :1])


def test_a_random_network_follows_its_seed_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    one, same, other = Perceptual.random(1), Perceptual.random(1), Perceptual.random(2)
    assert torch.equal(torch.get_rng_state(), before)
    x, y = images(18), images(19)
    assert torch.equal(one(x, y), same(x, y))
    assert not torch.equal(one(x, y), other(x, y))
    assert (one(x, y) > 0).all()


def test_the_converted_file_has_every_tensor_under_its_own_name(folder: Path, vgg: dict[str, Tensor], heads):
    weights = load_file(folder / "out.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in weights.items()} == weight_shapes()
    assert torch.equal(weights["trunk.conv1_2.bias"], vgg["features.2.bias"])
    assert torch.equal(weights["trunk.conv3_3.weight"], vgg["features.14.weight"])
    assert torch.equal(weights["trunk.conv5_3.weight"], vgg["features.28.weight"])
    assert torch.equal(weights["heads.relu4_3.weight"], heads["lin3.model.1.weight"])


def test_the_command_prints_the_sha256_of_what_it_wrote_and_repeats_it(folder: Path, capsys):
    arguments = [str(folder / name) for name in ("vgg.pth", "heads.pth", "again.safetensors")]
    assert convert_perceptual.main(arguments) == 0
    again = (folder / "again.safetensors").read_bytes()
    assert again == (folder / "out.safetensors").read_bytes()
    assert capsys.readouterr().out == f"sha256 {hashlib.sha256(again).hexdigest()}  {folder / 'again.safetensors'}\n"
    assert not list(folder.glob("*.tmp"))


class Runs:
    """Unpickles by making a folder: what a hostile file could do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_is_refused_and_not_run(folder: Path, tmp_path: Path, capsys):
    trap = tmp_path / "sprung"
    torch.save({"lin0.model.1.weight": Runs(trap)}, tmp_path / "heads.pth")
    assert refusal(folder / "vgg.pth", tmp_path / "heads.pth", tmp_path / "out", capsys) == (
        f"{tmp_path / 'heads.pth'}: damaged, or holds more than tensors (nothing in it was run)"
    )
    assert not trap.exists()
    assert not (tmp_path / "out").exists()


def test_a_wrong_shape_is_refused_with_found_and_expected(folder: Path, tmp_path: Path, heads, capsys):
    torch.save({**heads, "lin2.model.1.weight": torch.ones(1, 384, 1, 1)}, tmp_path / "alex.pth")
    assert refusal(folder / "vgg.pth", tmp_path / "alex.pth", tmp_path / "out", capsys) == (
        f"{tmp_path / 'alex.pth'}: lin2.model.1.weight: found shape (1, 384, 1, 1), expected (1, 256, 1, 1)"
    )


def test_a_missing_tensor_is_refused_by_name(folder: Path, tmp_path: Path, capsys):
    """Here: the two sources exchanged."""
    assert refusal(folder / "heads.pth", folder / "vgg.pth", tmp_path / "out", capsys) == (
        f"{folder / 'heads.pth'}: found no tensor features.0.weight among 5 entries, expected its shape (64, 3, 3, 3)"
    )


def test_a_negative_head_is_refused(folder: Path, tmp_path: Path, heads, capsys):
    torch.save({**heads, "lin4.model.1.weight": torch.full((1, 512, 1, 1), -0.5)}, tmp_path / "heads.pth")
    assert "heads.relu5_3.weight: found -0.5" in refusal(
        folder / "vgg.pth", tmp_path / "heads.pth", tmp_path / "out", capsys
    )


@pytest.mark.parametrize("length", [0, 1, 100, 2000, 5000])
def test_a_truncated_source_is_refused(folder: Path, tmp_path: Path, capsys, length: int):
    (tmp_path / "heads.pth").write_bytes((folder / "heads.pth").read_bytes()[:length])
    assert "damaged" in refusal(folder / "vgg.pth", tmp_path / "heads.pth", tmp_path / "out", capsys)


def test_a_source_that_is_no_state_dict_is_refused(folder: Path, tmp_path: Path, capsys):
    torch.save([torch.zeros(1)], tmp_path / "heads.pth")
    assert refusal(folder / "vgg.pth", tmp_path / "heads.pth", tmp_path / "out", capsys) == (
        f"{tmp_path / 'heads.pth'}: found a list, expected a state dict"
    )


def test_a_refusal_is_not_accompanied_by_warnings_of_torch(folder: Path, tmp_path: Path, heads, capsys, recwarn):
    torch.save(heads, tmp_path / "heads.pth", pickle_protocol=4)  # not the protocol torch expects
    assert "damaged" in refusal(folder / "vgg.pth", tmp_path / "heads.pth", tmp_path / "out", capsys)
    assert not recwarn.list


def test_a_source_that_is_not_there_is_refused(folder: Path, tmp_path: Path, capsys):
    message = refusal(folder / "gone.pth", folder / "heads.pth", tmp_path / "out", capsys)
    assert message == f"{folder / 'gone.pth'}: cannot be read (No such file or directory)"


def test_a_source_whose_name_promises_another_sha256_is_refused(folder: Path, tmp_path: Path, capsys):
    named = tmp_path / "vgg16-397923af.pth"
    os.link(folder / "vgg.pth", named)
    message = refusal(named, folder / "heads.pth", tmp_path / "out", capsys)
    assert hashlib.sha256(named.read_bytes()).hexdigest()[:8] in message
    assert "expected 397923af" in message


def test_a_result_that_would_replace_a_source_is_refused(folder: Path, capsys):
    assert "expected another file" in refusal(folder / "vgg.pth", folder / "heads.pth", folder / "heads.pth", capsys)


def test_a_result_that_cannot_be_written_is_one_line(folder: Path, tmp_path: Path, capsys):
    message = refusal(folder / "vgg.pth", folder / "heads.pth", tmp_path / "no" / "out", capsys)
    assert message == f"{tmp_path / 'no' / 'out'}: cannot be written (No such file or directory)"


def test_a_result_that_is_a_directory_is_refused_and_nothing_is_left_beside_it(folder: Path, tmp_path: Path, capsys):
    (tmp_path / "out").mkdir()
    assert "cannot be written" in refusal(folder / "vgg.pth", folder / "heads.pth", tmp_path / "out", capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("arguments", [[], ["vgg.pth"], ["a", "b", "c", "d"], ["--nonsense"]])
def test_wrong_arguments_are_one_line_and_status_2(arguments: list[str], capsys):
    with pytest.raises(SystemExit) as exit_:
        convert_perceptual.main(arguments)
    assert exit_.value.code == 2
    assert one_line(capsys).startswith("convert_perceptual: ")


def test_help_names_both_sources(capsys):
    with pytest.raises(SystemExit) as exit_:
        convert_perceptual.main(["--help"])
    assert exit_.value.code == 0
    shown = capsys.readouterr().out
    assert "vgg16-397923af.pth" in shown
    assert "lpips==0.1.4" in shown


@pytest.mark.parametrize("named", ["", "gone.safetensors", "."])
def test_a_missing_weights_file_says_how_to_get_it_and_how_to_do_without(named: str):
    with pytest.raises(FileNotFoundError) as error:
        Perceptual.load(named)
    message = str(error.value)
    assert message == missing_weights_message(named)
    assert "python -m learners.iris.convert_perceptual" in message
    assert "--algorithm.tokenizer.perceptual none" in message
    assert (named or "no file named") in message
    assert "\n" not in message


def test_a_file_that_is_not_safetensors_is_refused(tmp_path: Path):
    (tmp_path / "weights").write_bytes(b"\x80\x02 no tensors here")
    with pytest.raises(ValueError, match=r"weights: not a safetensors file, or a damaged one"):
        Perceptual.load(tmp_path / "weights")


def test_weights_with_missing_unknown_or_misshapen_tensors_are_refused(folder: Path, tmp_path: Path):
    good = load_file(folder / "out.safetensors")
    bad = tmp_path / "bad.safetensors"
    save_file({name: tensor for name, tensor in good.items() if name.startswith("heads")}, bad)
    with pytest.raises(
        ValueError, match=r"bad\.safetensors: 26 of 31 tensors are missing, the first is trunk\.conv1_1\."
    ):
        Perceptual.load(bad)
    for name, wrong, found in (
        ("trunk.conv6_1.bias", torch.zeros(2), "found the unknown tensor trunk.conv6_1.bias"),
        ("trunk.conv1_1.bias", torch.zeros(3), "trunk.conv1_1.bias: found float32 (3,), expected float32 (64,)"),
        ("trunk.conv1_1.bias", torch.zeros(64).half(), "found float16 (64,), expected float32 (64,)"),
        ("trunk.conv1_1.bias", torch.full((64,), torch.nan), "trunk.conv1_1.bias: found a value that is not finite"),
    ):
        with pytest.raises(ValueError) as error:  # noqa: PT011
            Perceptual({**good, name: wrong})
        assert found in str(error.value)


def refusal(vgg: Path, heads: Path, out: Path, capsys) -> str:
    """What the command says, without its own name, when it refuses these paths."""
    assert convert_perceptual.main([str(vgg), str(heads), str(out)]) == 2
    return one_line(capsys).removeprefix("convert_perceptual: ")


def one_line(capsys) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]
