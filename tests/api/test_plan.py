"""What a plan says, against compiled code, against loading under a limit, and against a process that was measured."""

import ast
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

import llm
from llmos.api import describe_model
from llmos.api.demand import MOST_SEQUENCES, sizes_of
from llmos.api.limits import check_memory
from llmos.api.model import Model
from llmos.api.prepare import choose_options, demand, open_source, prepare
from llmos.compiler import Options, build_graph, chosen_target, compile_code
from llmos.core.errors import ResourceError, UserError
from llmos.hardware import memory
from llmos.models import check_trainable, shapes, sources, spec_from_config
from llmos.native import include_dir, sources_hash
from llmos.plan import step_rows, workspace_bytes
from llmos.runtime import abi
from tests.embedding_model import folder
from tests.hardware.test_limits import MEMINFO, tree
from tests.published_configs import PUBLISHED
from tests.tiny_programs import CONFIG

ODD = {"model_type": "gpt2", "n_embd": 39, "n_head": 3, "n_layer": 2, "n_positions": 64, "vocab_size": 50}
ODD |= {"layer_norm_epsilon": 1e-5}
UNTIED = CONFIG | {"tie_word_embeddings": False, "num_key_value_heads": 6, "vocab_size": 33, "intermediate_size": 17}
ENCODER = {"model_type": "bert", "hidden_size": 40, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 50}
ENCODER |= {"intermediate_size": 52, "max_position_embeddings": 300}
READER = {"model_type": "t5", "d_model": 32, "d_kv": 24, "d_ff": 40, "num_heads": 4, "num_layers": 1, "vocab_size": 50}
READER |= {"n_positions": 700, "decoder_start_token_id": 0}
MIB = 2**20


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("weights", "kv"), [("float32", "float32"), ("bf16", "bf16"), ("int8", "int8"), ("uint4", "float16")]
)
@pytest.mark.parametrize(
    "config", [CONFIG, ODD, UNTIED, ENCODER, READER], ids=["llama", "gpt2", "untied", "bert", "t5"]
)
def test_sizes_are_those_that_compiled_code_says_of_itself(config, weights: str, kv: str):
    spec = spec_from_config(config)
    graph = build_graph(spec, Options(weights=weights, kv=kv))
    path = compile_code(graph, chosen_target(), include=include_dir(), kernels_hash=sources_hash())
    code, sizes = abi.load_library(str(path)), sizes_of(graph, spec)
    assert sizes.weights == code.llmos_weights_bytes()
    assert sizes.page == sizes.tables * code.llmos_page_bytes()
    for tokens, outputs in ((1, 1), (256, 64), (33, 7)):
        assert workspace_bytes(sizes, tokens, outputs) == code.llmos_workspace_bytes(tokens, outputs)


def limited(tmp_path, n_bytes: int) -> int:
    """What is free for a process in a control group of n_bytes, of which 3 MiB are taken."""
    group = "sys/fs/cgroup/box/memory"
    files = {"proc/meminfo": MEMINFO, "proc/self/cgroup": "0::/box\n", f"{group}.max": str(n_bytes + 3 * MIB)}
    return memory(tree(tmp_path, files | {f"{group}.current": str(3 * MIB)})).available


def wanted(**settings):
    source = open_source("llmos-mini")
    options = choose_options(source, settings.get("weights"), settings.get("kv"))
    graph = build_graph(source.spec, options)
    batch, given = settings.get("batch", 1), (settings.get("weights"), settings.get("kv"))
    return demand(source, graph, context=512, batch=batch, threads=1, given=given, verb=settings.get("verb", "run"))


def applied(advice: str) -> dict[str, object]:
    """The settings that a piece of advice names."""
    pairs = (setting.split("=") for setting in advice.split(" and "))
    found = {name: ast.literal_eval(value) for name, value in pairs}
    return {"memory_mode" if name == "memory" else name: value for name, value in found.items()}


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("settings", "share"),
    [({"batch": 200}, 0.5), ({"batch": 1}, 0.85), ({"batch": 1}, 0.75), ({"batch": 200, "weights": "float32"}, 0.6)],
)
def test_every_setting_that_a_refusal_advises_loads_and_runs_in_that_memory(tmp_path, settings, share):
    free = limited(tmp_path, int(share * wanted(**settings).needed()))
    with pytest.raises(ResourceError, match=r"llmos-mini needs .* for weights, .* is free: ") as caught:
        prepare("llmos-mini", free_bytes=free, threads=1, memory_mode="fast", **settings)
    advice = str(caught.value).rpartition("is free: choose ")[2].split(", or ")
    assert advice
    assert all(applied(piece) for piece in advice)
    for piece in advice:
        prepared = prepare(
            "llmos-mini", free_bytes=free, threads=1, **{"memory_mode": "fast"} | settings | applied(piece)
        )
        with Model(prepared, threads=1) as model:
            assert len(model.generate_tokens("Once", max_tokens=3, temperature=0, ignore_eos=True)) == 3


def test_the_largest_batch_ends_where_more_would_only_wait():
    assert wanted().largest_batch(2**60) == MOST_SEQUENCES
    assert wanted(batch=3000).largest_batch(2**60) == 3000


def test_mapping_the_weights_is_advised_where_it_helps_and_planned_unasked():
    made = wanted()
    assert "memory='mapped'" in made.advice(made.needed() - 1)
    free = made.needed() - MIB
    planned = {
        mode: llm.plan("llmos-mini", context=512, threads=1, free_bytes=free, memory=mode, measure=False)
        for mode in ("fast", "auto")
    }
    assert [(mode, plan.fits, plan.memory_mode) for mode, plan in planned.items()] == [
        ("fast", False, "fast"),
        ("auto", True, "mapped"),
    ]


def test_one_more_than_the_largest_that_fits_does_not_fit():
    made = wanted(batch=3)
    free = made.needed() - 1
    assert (
        made.needed(context=made.largest_context(free)) <= free < made.needed(context=made.largest_context(free) + 32)
    )
    assert made.needed(batch=made.largest_batch(free)) <= free < made.needed(batch=made.largest_batch(free) + 1)


def test_what_no_setting_mends_is_told_to_be_too_large():
    assert "choose a smaller model" in wanted().refusal(2 * MIB)


def test_where_no_single_change_helps_as_few_as_do_are_advised_together():
    made, small = wanted(weights="bf16"), wanted(weights="uint4")
    assert applied(made.advice(small.needed())[0]).keys() == {"weights"}
    together = [advice for advice in made.advice(small.needed(context=64)) if advice != "memory='mapped'"]
    assert together and all(len(applied(advice)) == 2 for advice in together)


def test_fewer_bits_for_keys_and_values_are_advised_where_they_are_enough():
    made, small = wanted(batch=200), wanted(batch=200, kv="int8")
    assert "kv='int8'" in made.advice(small.needed())
    assert "kv='int8'" not in made.advice(small.needed() - MIB)


def test_a_training_that_does_not_fit_is_advised_a_smaller_batch():
    made = wanted(batch=8, verb="train")
    free = made.needed(batch=3)
    assert "batch=3" in made.advice(free)
    assert all(applied(advice).keys() <= {"batch", "context"} for advice in made.advice(free))


def huge_folder(tmp_path, config, vocab: int) -> str:
    """A checkpoint of zeros that take no room on the disk, larger than any memory."""
    spec = spec_from_config(config | {"vocab_size": vocab, "tie_word_embeddings": True})
    header, end = {}, 0
    for name, source in sources(spec).items():
        shape = shapes(spec)[name]
        size = 4 * math.prod(shape)
        header[source.name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": vocab, "tie_word_embeddings": True}))
    return str(tmp_path)


def test_what_memory_cannot_hold_is_refused_by_every_verb_that_would_pack_it_and_described_all_the_same(tmp_path):
    name = huge_folder(tmp_path, CONFIG, 2**31)
    for work in (llm.load_model, lambda name: llm.compile(name, tmp_path / "x.llm")):
        with pytest.raises(
            ResourceError, match=r"needs \d.* TiB|needs \d+ GiB for weights|packed weights take .* [GT]iB more"
        ):
            work(name)
    assert not (tmp_path / "x.llm").exists()
    facts = describe_model(name)
    assert facts["vocab"] == 2**31
    assert facts["weights_bytes"] > 2**37


def test_compiling_what_does_not_fit_is_refused_with_the_formats_that_would():
    made = wanted(verb="pack", weights="float32")
    free = wanted(verb="pack", weights="int8").needed()
    with pytest.raises(ResourceError, match=r"llmos-mini needs .* to be compiled; .* is free: choose weights='int8'$"):
        check_memory(made, free)
    check_memory(made, made.needed())


def test_a_plan_of_the_embedded_model_fits_and_adds_up():
    made = llm.plan("llmos-mini", context=256, batch=2, weights="int8", threads=1, measure=False)
    assert made.fits
    assert not made.advice
    assert (made.context, made.batch, made.weights, made.kv, made.threads) == (256, 2, "int8", "bf16", 1)
    assert sum(made.memory.values()) == made.peak_bytes
    assert made.needed_bytes <= made.free_bytes
    assert json.loads(json.dumps(made.to_dict()))["largest_context"] == 512


def test_that_a_plan_is_of_a_stand_in_is_said():
    with pytest.warns(llm.ModelNotice, match="never published"):
        assert llm.plan("gpt-3", measure=False).model == "llmos-mini"


@pytest.mark.parametrize("verb", ["run", "serve", "compile", "train"])
def test_what_needs_more_than_there_is_does_not_fit(verb: str):
    made = llm.plan("llmos-mini", verb, context=128, batch=2, free_bytes=MIB, measure=False)
    assert not made.fits
    assert made.needed_bytes > MIB


def test_a_step_of_an_encoder_has_room_for_its_context_and_for_a_row_of_each_token():
    spec = spec_from_config(ENCODER)
    sizes = sizes_of(build_graph(spec, Options()), spec)
    assert step_rows(sizes, 300) == (300, 300)
    assert step_rows(sizes, 40) == (256, 256)
    assert workspace_bytes(sizes, 0, 9) == 9 * sizes.output  # nothing for scores


def test_a_step_of_a_model_that_reads_a_source_has_room_for_the_longest():
    spec = spec_from_config(READER)
    assert step_rows(sizes_of(build_graph(spec, Options()), spec), 700) == (700, 64)


@pytest.mark.toolchain
def test_speed_of_a_model_that_does_not_speak_is_that_of_its_texts():
    path = folder()
    made = llm.plan(str(path), context=64, threads=1)
    assert made.prefill_tokens_per_s > 0
    assert made.decode_tokens_per_s is made.decode_bound is None
    shown = subprocess.run([sys.executable, "-m", "llmos.cli", "plan", str(path)], capture_output=True, text=True)
    assert "prompts of" in shown.stdout
    assert "decoding" not in shown.stdout


@pytest.mark.toolchain
def test_speed_is_told_where_it_may_be_measured():
    made = llm.plan("llmos-mini", context=96, prompt=64, batch=2, threads=1)
    assert made.prompt == 64
    assert made.prefill_tokens_per_s > made.decode_tokens_per_s / 2 > 0
    assert {made.prefill_bound, made.decode_bound} <= {"memory", "compute", "waiting"}
    assert made.roofs.threads == 1
    assert json.loads(json.dumps(made.to_dict()))["roofs"]["read_bytes_per_s"] > 1e8


def test_a_prompt_that_leaves_no_room_is_refused():
    with pytest.raises(UserError, match="prompt is 64; a context of 64 tokens leaves room for 63"):
        llm.plan("llmos-mini", context=64, prompt=64)


def test_serving_takes_at_least_what_running_takes():
    run, serve = (llm.plan("llmos-mini", verb, batch=64, measure=False) for verb in ("run", "serve"))
    assert serve.needed_bytes >= run.needed_bytes


def reader_folder(tmp_path):
    """A model that reads a source, as far as a plan looks into it."""
    spec = spec_from_config(READER)
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes(spec).items()}
    stored = {source.name: tensors[name] for name, source in sources(spec).items() if name in tensors}
    save_file(stored, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(READER))
    return str(tmp_path)


def test_a_pool_that_sources_share_is_counted_once(tmp_path):
    made = llm.plan(reader_folder(tmp_path), "serve", context=700, batch=64, measure=False)
    sizes = sizes_of(
        build_graph(spec_from_config(READER), Options(weights=made.weights, kv=made.kv)), spec_from_config(READER)
    )
    contexts = 64 * 22 * sizes.page
    assert contexts <= made.memory["keys and values"] <= contexts + 2 * MIB


@pytest.mark.toolchain
def test_no_speed_is_told_of_a_model_that_reads_a_source(tmp_path):
    made = llm.plan(reader_folder(tmp_path), context=64, threads=1)
    assert made.prefill_tokens_per_s is made.decode_tokens_per_s is made.roofs is None


def test_only_decoders_have_a_plan_of_training(tmp_path):
    with pytest.raises(UserError, match="t5 cannot be trained: only decoders"):
        llm.plan(reader_folder(tmp_path), "train", measure=False)


def test_a_part_of_a_model_has_no_plan_of_training(tmp_path):
    gemma = PUBLISHED["gemma-3-4b-it"]
    with pytest.raises(UserError, match="gemma3 is only a part of its checkpoints: train a text model"):
        check_trainable(spec_from_config(gemma))


def test_free_memory_may_be_a_text():
    made = llm.plan("llmos-mini", free_bytes="2 GiB", measure=False)
    assert made.free_bytes == 2**31
    with pytest.raises(UserError, match="-1 is not a size"):
        llm.plan("llmos-mini", free_bytes=-1, measure=False)


def test_a_verb_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="allowed: run, serve, compile, train"):
        llm.plan("llmos-mini", "walk")


def test_a_batch_that_is_no_count_is_refused():
    with pytest.raises(UserError, match="batch is 0"):
        llm.load_model("llmos-mini", batch=0)
    with pytest.raises(UserError, match="batch is 0"):
        llm.plan("llmos-mini", batch=0, measure=False)


def test_a_model_has_room_for_the_batch_that_was_asked_for():
    with llm.load_model("llmos-mini", context=64, batch=7, threads=1) as model:
        assert model.info()["kv_pool"]["n_pages"] == 14


MEASURED = """
import re, sys
import llm
model = llm.load_model("llmos-mini", context=384, threads=1, weights="bf16")
model.generate_tokens(list(range(3, 303)), max_tokens=80, temperature=0, ignore_eos=True)
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024)
"""
PLANNED = """
import llm
print(llm.plan("llmos-mini", context=384, threads=1, weights="bf16", measure=False).peak_bytes)
"""


@pytest.mark.toolchain
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="not Linux")
def test_the_peak_of_a_real_process_is_within_ten_percent_of_the_plan():
    llm.load_model("llmos-mini", context=384, threads=1, weights="bf16").close()  # compiled once, as on a second start
    measured, planned = (
        int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for code in (MEASURED, PLANNED)
    )
    assert planned == pytest.approx(measured, rel=0.1)
