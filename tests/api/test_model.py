"""The public interface on the embedded model: what users call, and what they are told when they call it wrongly."""

import json
import math
import subprocess
import sys
import threading

import numpy as np
import pytest

import llm
from llmos.core.errors import FormatError, ResourceError, UserError

pytestmark = pytest.mark.toolchain
FOX = "The quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module")
def model():
    with llm.load_model("llmos-mini") as model:
        yield model


def test_gpt3_warns_once_and_generates():
    with pytest.warns(llm.ModelNotice, match="never published.*OPT") as caught:
        model = llm.load_model("gpt-3")
    assert len(caught) == 1
    text = model.generate_text(FOX, temperature=0)
    assert text
    assert not text.startswith(FOX)
    model.close()


def test_greedy_is_repeatable_and_a_seed_is_too(model):
    assert model.generate_text(FOX, temperature=0, max_tokens=30) == model.generate_text(
        FOX, temperature=0, max_tokens=30
    )
    one = model.generate(FOX, temperature=1.0, max_tokens=30)
    again = model.generate(FOX, temperature=1.0, max_tokens=30, seed=one.seed)
    assert one.tokens == again.tokens
    assert len({model.generate_text(FOX, temperature=1.0, max_tokens=30) for _ in range(4)}) > 1


def test_stream_generate_and_ids_agree(model):
    settings = {"temperature": 0, "max_tokens": 40}
    whole = model.generate(FOX, **settings)
    assert "".join(model.stream_text(FOX, **settings)) == whole.text
    assert model.generate_tokens(model.tokenize(FOX), **settings) == whole.tokens
    assert whole.prompt_tokens == len(model.tokenize(FOX))
    assert whole.finish_reason in ("stop", "length")


def test_a_stop_text_ends_the_generation_before_it(model):
    whole = model.generate_text(FOX, temperature=0, max_tokens=40)
    stop = whole[10:13]
    cut = model.generate(FOX, temperature=0, max_tokens=40, stop=stop)
    assert cut.text == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"


def test_a_model_may_not_end_before_min_tokens(model):
    stop = model.tokenize("")[0]
    wants_to_end = {"logit_bias": {stop: 100.0}, "seed": 1, "logprobs": True}
    assert model.generate("Once", min_tokens=0, **wants_to_end).tokens == [stop]
    generation = model.generate("Once", min_tokens=3, **wants_to_end)
    assert len(generation.tokens) == 4
    assert generation.tokens[3] == stop
    assert generation.finish_reason == "stop"
    assert all(-30 < value <= 0 for value in generation.logprobs)
    assert model.generate_tokens("Once", min_tokens=3, ignore_eos=True, seed=1, max_tokens=5)


def test_closing_a_stream_cancels_it(model):
    stream = model.stream_text(FOX, temperature=1.0, max_tokens=400)
    next(stream)
    stream.close()
    assert model.processes() == []


def test_scores_are_log_probabilities(model):
    ids = model.tokenize(FOX)
    scores = model.score(FOX)
    assert scores[0] is None
    assert len(scores) == len(ids)
    assert all(value < 0 for value in scores[1:])
    chosen = model.generate(ids, temperature=0, max_tokens=1, logprobs=True, top_logprobs=3)
    assert model.score([*ids, chosen.tokens[0]])[-1] == pytest.approx(chosen.logprobs[0], abs=1e-3)
    assert chosen.top_logprobs[0][0][0] == chosen.tokens[0]


def test_threads_share_steps_and_get_their_own_text(model):
    prompts = [f"Chapter {i}. The" for i in range(6)]
    alone = [model.generate_text(p, temperature=0, max_tokens=25) for p in prompts]
    together: list[str | None] = [None] * len(prompts)

    def work(i):
        together[i] = model.generate_text(prompts[i], temperature=0, max_tokens=25)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_chat_renders_the_template(model):
    assert isinstance(model.chat([{"role": "user", "content": "Hello"}], max_tokens=8, seed=1), str)
    with pytest.raises(UserError, match="role"):
        model.chat([{"content": "Hello"}])


def test_a_text_in_a_chat_is_one_message_of_the_user(model):
    messages = [{"role": "user", "content": "Who are you?"}]
    settings = {"max_tokens": 12, "temperature": 0, "ignore_eos": True}
    assert model.chat("Who are you?", **settings) == model.chat(messages, **settings)
    assert model.chat("Who are you?", **settings) != model.generate_text("Who are you?", **settings)


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([], "no messages"),
        ({"role": "user", "content": "Hello"}, "a list of messages, not a single one"),
        (None, "not None"),
        ([1, 2], "message 0 must have a role"),
        (b"Hello", "a bytes"),
    ],
)
def test_what_is_no_conversation_is_refused(model, messages, named):
    with pytest.raises(UserError, match=named):
        model.chat(messages)


def test_text_parts_of_a_message_are_its_text(model):
    parts = [{"type": "text", "text": "Hello"}, {"type": "text", "text": "there"}]
    said = [{"role": "user", "content": parts}]
    assert model.chat(said, temperature=0, max_tokens=4) == model.chat("Hello\nthere", temperature=0, max_tokens=4)
    assert said[0]["content"] is parts


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (5, "content of message 0 must be text, not an int"),
        (None, "content of message 0 must be text, not None"),
        ({"text": "hi"}, "content of message 0 must be text, not a dict"),
        ([{"type": "image_url", "image_url": "x"}], "a part of type 'image_url': only parts"),
        (["hi"], "message 0 holds 'hi': only parts"),
        ([{"type": "text"}], "message 0 holds .*: only parts"),
    ],
)
def test_contents_that_are_no_text_are_refused(model, content, named):
    with pytest.raises(UserError, match=named):
        model.chat([{"role": "user", "content": content}])


def test_a_prompt_over_the_context_is_an_error_with_the_counts(model):
    context = model.info()["context"]
    ids = [5] * (context + 10)
    with pytest.raises(UserError, match=rf"{context + 10} tokens, the context holds {context}"):
        model.generate_text(ids)
    kept = model.generate(ids, overflow="drop_oldest", max_tokens=4)
    assert kept.dropped_tokens == 14
    assert kept.prompt_tokens == context - 4
    assert len(model.generate(ids, overflow="drop_oldest", max_tokens=20, ignore_eos=True).tokens) == 20
    assert model.generate(ids[: context - 4], overflow="drop_oldest", max_tokens=4).dropped_tokens == 0
    assert model.generate(ids[:context], overflow="drop_oldest", max_tokens=4).dropped_tokens == 4


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": math.nan}, "finite"),
        ({"top_p": 0}, "top_p is 0"),
        ({"top_k": 1.5}, "whole number"),
        ({"max_tokens": -3}, "max_tokens is -3"),
        ({"seed": -1}, "seed"),
        ({"stop": [""]}, "stop string"),
        ({"logit_bias": {99999: 1.0}}, "99999"),
        ({"logit_bias": [1]}, "dict of token ids"),
        ({"logit_bias": {1: math.nan}}, "token id 1 must be a finite number"),
        ({"stop": 5}, "text or a list of texts"),
        ({"stop": [5]}, "stop string"),
        ({"seed": True}, "seed is True"),
        ({"logprobs": 1}, "True or False"),
        ({"owner": 1}, "owner"),
        ({"max_new_tokens": 5}, "did you mean 'max_tokens'"),
        ({"temprature": 1.0}, "did you mean 'temperature'"),
        ({"overflow": "crop"}, "drop_oldest"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(model, settings, named):
    with pytest.raises(UserError, match=named):
        model.generate_text(FOX, **settings)


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ([], "empty"),
        ([-1], "token id -1"),
        ([8192], "8192"),
        ([True], "item 0 of this one is True: token ids are whole numbers"),
        ([1, 2.5], "item 1 of this one is 2.5: token ids are whole numbers"),
        (None, "not None"),
        (b"Hello", "a bytes .*: decode it first"),
        ({"role": "user", "content": "Hello"}, "a dict .*into a list"),
        (7, r"an int \(7\)"),
        (True, r"a bool \(True\)"),
        (1.5, "a float"),
        ({1, 2}, "a set"),
        (["Hello", "there"], "several prompts are several calls"),
        ([[1, 2]], "one flat list"),
        (np.array([[1, 2]]), r"shape \(1, 2\)"),
        (np.array([1.5]), "token ids are whole numbers"),
        (np.array(3), r"shape \(\)"),
    ],
    ids=repr,
)
def test_prompts_that_make_no_sense_are_refused(model, prompt, named):
    for ask in (model.generate_text, model.stream_text, model.start, model.generate_tokens, model.score):
        with pytest.raises(UserError, match=named):
            ask(prompt)
    assert model.processes() == []


def test_ids_may_be_any_row_of_whole_numbers(model):
    ids = model.tokenize(FOX)
    expected = model.generate_tokens(ids, temperature=0, max_tokens=4)
    for form in (tuple(ids), np.array(ids), np.array(ids, np.uint16), list(np.array(ids))):
        assert model.generate_tokens(form, temperature=0, max_tokens=np.int64(4)) == expected
        assert model.detokenize(form) == model.detokenize(ids)
    with pytest.raises(UserError, match="tokenize takes text, not list"):
        model.tokenize([FOX])


def test_names_that_lead_nowhere_are_refused_with_the_nearest(tmp_path):
    with pytest.raises(UserError, match="did you mean gpt"):
        llm.load_model("gpt33")
    with pytest.raises(UserError, match=r"no config\.json"):
        llm.load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        llm.load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="model_type is missing"):
        llm.load_model(str(tmp_path))
    with pytest.raises(UserError, match="context 9999"):
        llm.load_model("llmos-mini", context=9999)
    with pytest.raises(UserError, match="int7"):
        llm.load_model("llmos-mini", weights="int7")


@pytest.mark.parametrize("weights", ["float32", "float16", "bf16", "int8", "int4", "uint4"])
def test_a_bundle_gives_the_same_bytes_as_its_source(weights, tmp_path):
    path = tmp_path / "mini.llm"
    llm.compile("llmos-mini", path, weights=weights)
    with llm.load_model("llmos-mini", weights=weights) as source, llm.load_model(str(path)) as bundle:
        settings = {"temperature": 0.7, "seed": 4, "max_tokens": 40}
        assert bundle.generate_tokens(FOX, **settings) == source.generate_tokens(FOX, **settings)
        assert bundle.info()["formats"]["weights"] == weights
    with pytest.raises(UserError, match="compiled with weights"):
        llm.load_model(str(path), weights="float32" if weights != "float32" else "int8")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="damaged"):
        llm.load_model(str(path))


def test_a_bundle_from_other_hands_cannot_bring_its_own_graph(tmp_path):
    import zipfile

    from llmos.artifact import open_bundle, write_bundle

    path = tmp_path / "mini.llm"
    llm.compile("llmos-mini", path, weights="int8")
    bundle = open_bundle(path)
    documents = {n: bundle.document(n) for n in ("spec", "graph", "prompt_format", "golden", "lineage", "reports")}
    documents["spec"]["num_hidden_layers"] = 1
    weights = zipfile.ZipFile(path).read("weights.bin")
    facts = {"graph": bundle.manifest["graph"], "formats": bundle.manifest["formats"]}
    write_bundle(path, documents=documents, facts=facts, weights=memoryview(weights))
    with pytest.raises(FormatError, match="compile it again"):
        llm.load_model(str(path))


def test_perplexity_rises_by_no_more_than_was_measured(data_dir):
    import lzma

    with lzma.open(data_dir / "eval" / "books_heldout.jsonl.xz", "rt", encoding="utf-8") as file:
        text = "".join(json.loads(line)["text"][2000:6000] for line in file)
    losses = {}
    for weights in ("float32", "float16", "bf16", "int8", "int4", "uint4"):
        with llm.load_model("llmos-mini", weights=weights) as model:
            ids = model.tokenize(text)
            windows = [ids[i : i + 512] for i in range(0, len(ids) - 511, 512)]
            losses[weights] = np.mean([value for w in windows for value in model.score(w)[1:]])
    rise = {weights: math.exp(losses["float32"] - loss) - 1 for weights, loss in losses.items()}
    assert rise["float16"] < 1e-4
    assert rise["bf16"] < 0.002
    assert rise["int8"] < 0.005
    assert rise["uint4"] < 0.045  # 0.036
    assert rise["int4"] < 0.07  # 0.059


def test_interrupting_leaves_the_model_usable(model, monkeypatch):
    real, calls = model._executor.step, []

    def interrupted(batch):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(batch)

    monkeypatch.setattr(model._executor, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.generate_text(FOX, temperature=0, max_tokens=20)
    monkeypatch.undo()
    assert model.processes() == []
    assert model.generate_text(FOX, temperature=0, max_tokens=5)


def test_a_cache_that_cannot_be_used_is_one_clear_error(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    code = "import llm; llm.load_model('llmos-mini')"
    import os

    env = {**os.environ, "LLMOS_CACHE": str(blocker / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "UserError: cannot write" in done.stderr


def test_without_a_toolchain_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOS_CACHE", str(tmp_path))
    monkeypatch.setenv("LLMOS_CC", "no-such-compiler")
    with pytest.raises(ResourceError, match="LLMOS_CC"):
        llm.load_model("llmos-mini")


def test_a_stream_whose_model_is_closed_says_so():
    model = llm.load_model("llmos-mini", threads=1)
    stream = model.stream_text("Once", max_tokens=400, ignore_eos=True)
    next(stream)
    model.close()
    with pytest.raises(UserError, match="was closed while it was speaking"):
        list(stream)
    with pytest.raises(UserError, match="closed"), model:
        pass


def test_a_closed_model_says_so():
    model = llm.load_model("llmos-mini")
    assert repr(model).startswith("<Model llmos-mini: llama, bf16, context 512, ")
    model.close()
    model.close()
    for ask in (model.generate_tokens, model.generate_text, model.stream_text, model.score):
        with pytest.raises(UserError, match="the model llmos-mini is closed"):
            ask([1, 2, 3])
    with pytest.raises(UserError, match="closed"):
        model.chat("Hello")
    assert repr(model).endswith("closed>")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((None, {}), "named by text or a path, not by None"),
        ((b"llmos-mini", {}), "named by text"),
        (("llmos-mini", {"threads": 0}), "threads is 0"),
        (("llmos-mini", {"threads": "2"}), "threads is '2'"),
        (("llmos-mini", {"context": "64"}), "context is '64'"),
        (("llmos-mini", {"context": True}), "context is True"),
    ],
)
def test_what_no_model_can_be_loaded_with_is_refused(arguments, named):
    name, settings = arguments
    with pytest.raises(UserError, match=named):
        llm.load_model(name, **settings)


def test_a_generation_says_what_came_of_it(model):
    generation = model.start(FOX, temperature=0, max_tokens=3)
    assert repr(generation) == "<Generation: 0 tokens, running>"
    assert "".join(generation) == generation.text
    assert repr(generation) == "<Generation: 3 tokens, length>"
