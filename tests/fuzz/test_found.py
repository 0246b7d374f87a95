"""What fuzzing found, each with the smallest file that shows it. Every one crashed or hung before."""

import json
import os
import resource
from pathlib import Path

import pytest
from safetensors.numpy import save

from llmos.api.adapters import base_of
from llmos.api.prepare import open_source
from llmos.core.errors import FormatError, LlmosError, UserError
from llmos.core.files import read_file
from llmos.hub import resolve
from llmos.models import spec_from_config
from llmos.text import PromptFormat, render_chat
from llmos.text.template import compiled
from llmos.weights import GgufFile, Llama2cFile, open_checkpoint
from llmos.weights.safetensors import SafetensorsFile

DOCUMENT = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": []}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("post_processor", {"type": "TemplateProcessing", "single": True}),
        ("post_processor", {"type": "TemplateProcessing", "single": ["x"]}),
        ("post_processor", {"type": "BertProcessing", "cls": 5}),
        ("post_processor", {"type": "Sequence", "processors": [None]}),
        ("normalizer", {"type": "Sequence", "normalizers": 7}),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": ["x"]}),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": 3}),
    ],
)
def test_parts_of_a_tokenizer_that_are_none_are_refused(tmp_path, field, value):
    (tmp_path / "tokenizer.json").write_text(json.dumps(DOCUMENT | {field: value}))
    with pytest.raises(FormatError, match=r"tokenizer\.json: is no tokenizer\.json"):
        PromptFormat.load(tmp_path)


@pytest.mark.parametrize("id", [[], {}, None, -1, 1.5, True])
def test_an_added_token_without_a_number_is_refused(tmp_path, id):
    (tmp_path / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\n[PAD]\n[MASK]\na")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<x>": id}))
    with pytest.raises(FormatError, match=r"added_tokens\.json: added token '<x>' must have a number"):
        PromptFormat.load(tmp_path)


def test_an_error_that_quotes_half_of_a_surrogate_pair_can_be_written():
    with pytest.raises(UserError, match=r"\\ud800") as caught:
        spec_from_config({"model_type": "llama\ud800"})
    str(caught.value).encode()
    assert str(LlmosError("é 日", 3)) == "('é 日', 3)"


@pytest.mark.parametrize("source", ["{% break %}", "{% for a in 'b' %}" * 25 + "{% endfor %}" * 25])
def test_a_template_that_is_no_python_is_refused(source):
    with pytest.raises(UserError, match="chat template cannot be used"):
        compiled(source)


@pytest.mark.parametrize(
    "source", ["{{ (2e308 * 10)|escape }}", "{{ 'abc'|truncate(-5) }}", "{{ 'x'.encode('idna')|truncate(-5) }}"]
)
def test_a_template_whose_filters_fail_is_refused(source):
    format = PromptFormat(tokenizer="", chat_template=source)
    with pytest.raises(UserError, match="chat template"):
        render_chat(format, [{"role": "user", "content": "x"}])


def test_a_base_model_with_an_endless_name_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 1, "target_modules": ["q_proj"], "base_model_name_or_path": "é" * 300})
    )
    with pytest.raises(UserError, match="which cannot be had"):
        base_of(resolve(str(tmp_path)), [])


@pytest.mark.parametrize("name", ["6./base", "a--b/c", "a/" + "b" * 97, "a/b.git", "a/b..c"])
def test_a_base_model_of_a_name_that_the_hub_cannot_have_is_refused(tmp_path, name):
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 1, "target_modules": ["q_proj"], "base_model_name_or_path": name})
    )
    with pytest.raises(UserError, match="can be no name on the Hub"):
        base_of(resolve(str(tmp_path)), [])


NAMES = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "model.safetensors.index.json"]
NAMES += ["tokenizer.model", "vocab.txt", "adapter_config.json", "modules.json", "chat_template.jinja"]


@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(tmp_path, name):
    config = {"model_type": "llama", "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    config |= {"intermediate_size": 8, "vocab_size": 8, "max_position_embeddings": 8, "rms_norm_eps": 1e-5}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(save({}))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError):
        open_source(str(tmp_path))


@pytest.mark.parametrize("open_file", [GgufFile, Llama2cFile, SafetensorsFile, open_checkpoint, read_file])
def test_a_device_in_place_of_a_file_is_refused(tmp_path, open_file):
    path = tmp_path / "x.bin"
    path.symlink_to("/dev/zero")
    with pytest.raises((UserError, OSError), match=r"a pipe or a device|there is no checkpoint"):
        open_file(path)


def test_a_small_file_that_is_large_is_not_read(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 40)  # sparse: it takes no space
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FormatError, match=r"config\.json: is larger than"):
        open_source(str(tmp_path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_a_header_of_brackets_is_refused_before_it_is_taken_apart(tmp_path):
    path: Path = tmp_path / "x.safetensors"
    header = b"[" + b"[]," * 300_000 + b"0]"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(FormatError, match="nested as none of tensors is"):
        SafetensorsFile(path)
