"""Files that are not what they should be: one message that names the file; nothing hangs, swells or is unpickled."""

import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from llmos.core.errors import FormatError, LlmosError, UserError
from llmos.models import shapes, sources, spec_from_config
from llmos.weights import Checkpoint, Llama2cFile, Parameters, open_checkpoint
from tests.mutations import damaged, modest_memory

SIZES = (8, 12, 2, 2, 1, 10, 16)  # width, hidden, layers, heads, kv heads, vocabulary, context


def llama2c(version: int, sizes: tuple[int, ...] = SIZES) -> bytes:
    """A llama2.c checkpoint with a tied head."""
    dim, hidden, layers, heads, kv_heads, vocab, context = sizes
    kv = dim // heads * kv_heads
    n = vocab * dim + dim + layers * (2 * dim + 2 * dim * dim + 2 * kv * dim + 3 * dim * hidden)
    n += context * dim // heads if version == 0 else 0
    head = (
        struct.pack("<7i", *sizes)
        if version == 0
        else struct.pack("<Ii7iB", 0x616B3432, 1, *sizes, 1).ljust(256, b"\0")
    )
    return head + np.random.default_rng(0).normal(size=n).astype("<f4").tobytes()


def read_all(checkpoint: Checkpoint, config: dict) -> None:
    """What loading reads: every parameter of the config."""
    spec = spec_from_config(config)
    parameters = Parameters(checkpoint, sources(spec), shapes(spec), tied=spec.tied)
    for name in parameters:
        parameters[name].float32().sum()


CONFIG = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "intermediate_size": 12,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "vocab_size": 10,
    "max_position_embeddings": 16,
    "tie_word_embeddings": True,
}
SPEC = spec_from_config(CONFIG)
SAFETENSORS = save({s.name: np.ones(shapes(SPEC)[n], np.float32) for n, s in sources(SPEC).items()})


def fuzz(tmp_path: Path, name: str, data: bytes, read, examples: int) -> None:
    path = tmp_path / name

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=damaged(data))
    def holds(data):
        path.write_bytes(data)
        try:
            with modest_memory(5_000_000), np.errstate(all="ignore"):
                read(path)
        except LlmosError as error:
            assert str(path) in str(error)
        finally:
            path.unlink()  # the next example must not shorten a file that is still mapped

    holds()


FILES = {
    "x.safetensors": (SAFETENSORS, lambda path: read_all(open_checkpoint(path), CONFIG)),
    "v0.bin": (llama2c(0), lambda path: read_all(open_checkpoint(path), Llama2cFile(path).config)),
    "v1.bin": (llama2c(1), lambda path: read_all(open_checkpoint(path), Llama2cFile(path).config)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_checkpoint_is_refused_or_read(tmp_path, name):
    data, read = FILES[name]
    (tmp_path / name).write_bytes(data)
    read(tmp_path / name)
    fuzz(tmp_path, name, data, read, 300)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_more_damaged_checkpoints_are_refused_or_read(tmp_path, name):
    fuzz(tmp_path, name, *FILES[name], 5000)


NUMBERS = st.one_of(st.integers(-2, 40), st.sampled_from([2**31, 2**62, 2**64, 10**30]), st.none(), st.text(max_size=2))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    field=st.sampled_from(["dtype", "shape", "data_offsets"]),
    value=NUMBERS | st.lists(NUMBERS, max_size=9),
    data=st.data(),
)
def test_a_header_with_another_value_is_refused_or_read(tmp_path, field, value, data):
    length = int.from_bytes(SAFETENSORS[:8], "little")
    header = json.loads(SAFETENSORS[8 : 8 + length])
    name = data.draw(st.sampled_from(sorted(header)))
    header[name][field] = value
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.unlink(missing_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + SAFETENSORS[8 + length :])
    try:
        with modest_memory(5_000_000):
            read_all(open_checkpoint(path), CONFIG)
    except LlmosError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("version", [0, 1])
def test_a_header_that_claims_millions_of_layers_is_refused_at_once(tmp_path, version):
    data = bytearray(llama2c(version))
    struct.pack_into("<i", data, 8 if version == 0 else 16, 1 << 24)
    (tmp_path / "x.bin").write_bytes(data)
    with modest_memory(1_000_000), pytest.raises(FormatError, match="sizes in the header need"):
        open_checkpoint(tmp_path / "x.bin")


def test_heads_of_an_odd_size_are_no_llama2c_checkpoint(tmp_path):
    (tmp_path / "x.bin").write_bytes(llama2c(0, (6, 12, 2, 2, 1, 10, 16)))
    with pytest.raises(FormatError, match="wrong magic number"):
        open_checkpoint(tmp_path / "x.bin")


class Payload:
    """Unpickling it creates the file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pickled(path: Path, how: str, victim: Path) -> None:
    if how == "torch":  # the ZIP file of torch.save
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Payload(victim)))
    else:
        path.write_bytes(pickle.dumps(Payload(victim), protocol=int(how)))


@pytest.mark.parametrize("how", ["torch", "2", "3", "4", "5"])
@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt", ".pkl"])
@pytest.mark.parametrize("in_folder", [True, False])
def test_pickles_are_refused_with_the_safe_way_and_never_run(tmp_path, how, suffix, in_folder):
    path, victim = tmp_path / f"pytorch_model{suffix}", tmp_path / "victim"
    pickled(path, how, victim)
    with pytest.raises(UserError, match="save_pretrained") as caught:
        open_checkpoint(tmp_path if in_folder else path)
    assert path.name in str(caught.value)
    assert not victim.exists()
    if how != "torch":
        pickle.loads(path.read_bytes())
        assert victim.exists()  # the payload would have worked


def test_pickles_from_before_protocol_2_are_refused_unread(tmp_path):
    pickled(tmp_path / "x.bin", "0", tmp_path / "victim")
    with pytest.raises(FormatError, match="wrong magic number"):
        open_checkpoint(tmp_path / "x.bin")
    assert not (tmp_path / "victim").exists()


def test_a_llama2c_file_that_begins_like_a_pickle_is_read(tmp_path):
    sizes = (0x280, 4, 1, 2, 1, 10, 4)  # a width of 640: bytes 80 02 00 00
    (tmp_path / "x.bin").write_bytes(llama2c(0, sizes))
    read_all(open_checkpoint(tmp_path / "x.bin"), Llama2cFile(tmp_path / "x.bin").config)


@pytest.mark.parametrize("name", ["x.safetensors", "x.bin"])
def test_empty_files_and_folders_in_place_of_files_are_named(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(UserError, match=str(path)):
        open_checkpoint(path)
    path.write_bytes(b"short")
    with pytest.raises(FormatError, match=f"{path}.*5 bytes"):
        open_checkpoint(path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json"])
def test_a_folder_or_an_unreadable_file_among_the_weights_is_named(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=rf"cannot read .*{name}: Is a directory"):
        open_checkpoint(tmp_path)
    (tmp_path / name).rmdir()
    (tmp_path / name).symlink_to(
        "/proc/self/mem"
    )  # which can be neither read at its beginning nor mapped, by root either
    with pytest.raises(UserError, match=name):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', "[" * 100_000])
def test_an_index_that_is_none_is_refused(tmp_path, index):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(index)
    with pytest.raises(FormatError, match=str(path)):
        open_checkpoint(tmp_path)


def test_an_index_that_puts_a_tensor_elsewhere_is_refused(tmp_path):
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "one.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"b": "one.safetensors"}}')
    with pytest.raises(FormatError, match=r"tensor 'b' is not in one\.safetensors"):
        open_checkpoint(tmp_path)


def test_a_damaged_shard_is_named(tmp_path):
    (tmp_path / "one.safetensors").write_bytes(SAFETENSORS[:-1])
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "one.safetensors"}}')
    with pytest.raises(FormatError, match=r"one\.safetensors.*cut off"):
        open_checkpoint(tmp_path)
