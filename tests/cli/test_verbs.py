"""The verbs as a user meets them: each in a process of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmos.compiler import FORMATS, KV_FORMATS
from llmos.hub import resolve
from tests.pseudo_terminal import Terminal

pytestmark = pytest.mark.toolchain

# What programs may rely on.
INFO = {"name", "path", "family", "parameters", "layers", "width", "heads", "kv_heads", "vocab", "context"} | {
    "trained_context",
    "architecture",
    "encoder_layers",
    "experts",
    "experts_per_token",
    "sliding_window",
    "sliding_window_layers",
    "embedding",
    "formats",
    "weights_bytes",
    "target",
    "prompt_format",
    "chat_template",
    "bundle",
    "graph",
    "threads",
    "kv_pool",
    "speculation",
}
MODELS = {"name", "kind", "about", "hub_id", "path", "size_bytes", "notice"}


def llmos(*args: str, given: str = "", cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, **variables}
    command = [sys.executable, "-m", "llmos.cli", *args]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=300, env=environment, cwd=cwd)


def succeeds(*args: str, **how) -> str:
    done = llmos(*args, **how)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def fails(code: int, *args: str, **how) -> str:
    """The one line on stderr of a verb that must fail with a code."""
    done = llmos(*args, **how)
    assert done.returncode == code, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_run_streams_the_same_text_for_the_same_seed():
    first = succeeds("run", "Once upon a time", "--max-tokens", "12", "--seed", "3")
    assert first.strip()
    assert (
        succeeds("run", "llmos-mini", "Once upon a time", "--max-tokens", "12", "--seed", "3", "--threads", "1")
        == first
    )


def test_run_reads_the_prompt_from_standard_input():
    piped = succeeds("run", "--greedy", "--max-tokens", "8", given="The sea was\n")
    assert piped == succeeds("run", "The sea was", "--temperature", "0", "--max-tokens", "8")


def test_run_json_says_what_came_of_it():
    report = json.loads(succeeds("run", "The king", "--greedy", "--max-tokens", "5", "--json"))
    assert report["finish_reason"] in ("length", "stop")
    assert len(report["tokens"]) <= 5
    assert report["prompt_tokens"] > 0
    assert report["timings"]["first_text_s"] <= report["timings"]["total_s"]
    assert report["text"].rstrip("\n") == succeeds("run", "The king", "--greedy", "--max-tokens", "5").rstrip("\n")


def test_run_json_tells_the_seed_that_was_drawn_and_it_gives_the_text_again():
    drawn = json.loads(succeeds("run", "The king", "--max-tokens", "8", "--json"))
    again = json.loads(succeeds("run", "The king", "--max-tokens", "8", "--seed", str(drawn["seed"]), "--json"))
    assert again["tokens"] == drawn["tokens"]
    assert again["seed"] == drawn["seed"]


def test_run_drops_the_beginning_of_a_long_prompt_where_asked_to():
    prompt = "word " * 3000
    refused = fails(2, "run", "--max-tokens", "2", given=prompt)
    assert "pass --overflow drop_oldest" in refused
    told = llmos("run", "--max-tokens", "1", "--overflow", "drop_oldest", given=prompt)
    assert re.fullmatch(r"llmos: \d+ tokens of the prompt were left out, its beginning\n", told.stderr)
    report = json.loads(succeeds("run", "--max-tokens", "1", "--overflow", "drop_oldest", "--json", given=prompt))
    assert report["dropped_tokens"] > 0
    assert report["prompt_tokens"] == 511


def test_run_stops_before_a_stop_text():
    whole = json.loads(succeeds("run", "Once upon a time", "--max-tokens", "20", "--seed", "3", "--json"))["text"]
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    flags = ("--max-tokens", "20", "--seed", "3", "--stop", stop, "--json")
    report = json.loads(succeeds("run", "Once upon a time", *flags))
    assert report["text"] == whole[: whole.index(stop)]
    assert report["finish_reason"] == "stop"


def test_a_name_whose_weights_were_never_published_says_so_in_one_line():
    done = llmos("run", "gpt-3", "Hello", "--greedy", "--max-tokens", "3")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "never published" in done.stderr
    assert "load_model" not in done.stderr


def test_what_a_model_cannot_do_is_said_in_flags(tmp_path: Path):
    for file in resolve("llmos-mini").path.iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": None}))
    assert "leave out --chat" in fails(2, "run", str(tmp_path), "Hello", "--chat")
    (tmp_path / "tokenizer.json").unlink()
    told = fails(2, "run", str(tmp_path), "Hello")
    assert (
        f"without a tokenizer (tokenizer.json, tokenizer.model, vocab.json with merges.txt, vocab.txt or *.tiktoken in {tmp_path})"
        in told
    )


def test_a_prompt_that_resembles_a_model_is_taken_as_a_prompt_and_said_so():
    done = llmos("run", "llmos-mni", "--greedy", "--max-tokens", "2")
    assert done.returncode == 0
    assert "llmos-mini" in done.stderr


@pytest.mark.parametrize("word", ["llama3:8b", "mistral", "qwen2.5-7b"])
def test_a_word_that_looks_like_a_model_is_taken_as_a_prompt_and_said_so(word: str):
    done = llmos("run", word, "--greedy", "--max-tokens", "2")
    assert done.returncode == 0
    assert f"taking '{word}' as the prompt of llmos-mini; a model is named owner/name[:TAG]" in done.stderr


def test_an_ordinary_word_is_a_prompt_without_a_word():
    assert llmos("run", "Once", "--greedy", "--max-tokens", "2").stderr == ""


def test_a_bundle_says_what_its_checkpoint_says(tmp_path: Path):
    done = llmos("compile", "llmos-mini", "-o", str(tmp_path / "mini.llm"), "--dump", str(tmp_path / "dump"))
    assert re.search(r"mini\.llm \([\d.]+ MiB\)\n$", done.stderr), done.stderr
    flags = ("The old house", "--greedy", "--max-tokens", "12")
    assert succeeds("run", str(tmp_path / "mini.llm"), *flags) == succeeds("run", "llmos-mini", *flags)
    assert len(list((tmp_path / "dump").iterdir())) > 3


def test_compile_explains_every_operation(tmp_path: Path):
    model = ("compile", "llmos-mini", "-o", str(tmp_path / "x.llm"), "--weights", "int8", "--no-verify")
    document = json.loads(succeeds(*model, "--explain", "--json"))
    assert [step["step"] for step in document["steps"]] == ["decode", "prefill"]
    assert document["unmeasured"] is None
    assert {"rms_norm", "linear"} <= {line["operation"] for line in document["steps"][0]["table"]}
    assert (tmp_path / "x.explain.html").read_text().startswith("<!doctype html>")
    assert llmos(*model, "--json").returncode == llmos(*model, "--explain-html", "page.html").returncode == 2


def test_info_and_models_speak_json():
    facts = json.loads(succeeds("info", "llmos-mini", "--json"))
    assert facts["family"] == "llama"
    assert facts["bundle"] is None
    assert facts.keys() >= INFO
    rows = {row["name"]: row for row in json.loads(succeeds("models", "--json"))}
    assert all(set(row) == MODELS for row in rows.values())
    assert rows["llmos-mini"]["kind"] == "embedded"
    assert rows["llmos-mini"]["size_bytes"] > 1e6
    assert rows["gpt2"]["kind"] == "catalogue"
    assert rows["gpt2"]["hub_id"] == "openai-community/gpt2"
    assert "never published" in rows["gpt-3"]["notice"]
    assert "llmos-mini" in succeeds("models")
    text = succeeds("info", "llmos-mini")
    assert re.search("^family: +llama$", text, re.MULTILINE)
    assert re.search("^chat template: +yes$", text, re.MULTILINE)
    assert "expert" not in text and "window" not in text


def test_models_lists_what_was_downloaded_and_no_data_set(tmp_path: Path):
    for repo in ("models--someone--tale", "models--openai-community--gpt2", "datasets--someone--books"):
        snapshot = tmp_path / repo / "snapshots" / ("a" * 40)
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text("{}")
        (tmp_path / repo / "refs").mkdir()
        (tmp_path / repo / "refs" / "main").write_text("a" * 40)
    rows = json.loads(succeeds("models", "--json", HF_HUB_CACHE=str(tmp_path)))
    assert [row["name"] for row in rows if row["kind"] == "downloaded"] == ["someone/tale"]
    gpt2 = next(row for row in rows if row["name"] == "gpt2")
    assert gpt2["path"] == str(tmp_path / "models--openai-community--gpt2")


PLAN = {"model", "verb", "weights", "kv", "context", "batch", "threads", "memory", "peak_phase", "peak_bytes"} | {
    "needed_phase",
    "needed_bytes",
    "free_bytes",
    "fits",
    "advice",
    "largest_context",
    "largest_batch",
    "prompt",
    "prefill_tokens_per_s",
    "decode_tokens_per_s",
    "prefill_bound",
    "decode_bound",
    "memory_mode",
    "roofs",
}


def test_plan_tells_memory_and_speed():
    text = succeeds("plan", "llmos-mini", "--context", "128", "--threads", "1")
    assert "it fits" in text
    assert "largest context" in text
    assert max(map(len, text.splitlines())) <= 80
    assert re.search(r"decoding +[\d.,]+ tokens/s, bound by", text)
    made = json.loads(succeeds("plan", "llmos-mini", "--verb", "train", "--batch", "4", "--context", "64", "--json"))
    assert set(made) == PLAN
    assert made["decode_tokens_per_s"] is None


def test_a_plan_that_does_not_fit_says_what_would():
    done = llmos("plan", "llmos-mini", "--batch", "500", "--free", "64MiB", "--quick")
    assert done.returncode == 3
    assert "it does not fit" in done.stdout
    assert re.search(r"to make it fit: .*--batch \d+", done.stdout)
    assert json.loads(llmos("plan", "llmos-mini", "--free", "1MiB", "--quick", "--json").stdout)["fits"] is False


def test_doctor_measures_this_machine():
    report = json.loads(succeeds("doctor", "--json"))
    assert set(report) == {"llmos", "machine", "code", "roofs", "checks"}
    assert report["code"]["target"] == report["roofs"]["target"]
    for part, formats in (("products", FORMATS), ("attention", KV_FORMATS)):
        assert list(report["code"][part]) == list(formats)
        assert all(way["instructions"] for way in report["code"][part].values())
    assert report["code"]["rows"]["instructions"]
    assert all(set(check) == {"name", "ok", "text", "needed"} for check in report["checks"])
    assert min(report["roofs"][f"{format}_ops_per_s"] for format in ("float32", "bf16", "int8")) > 1e8
    assert report["machine"]["topology"]["usable"] >= 1
    assert report["roofs"]["read_bytes_per_s"] > 1e8
    assert {check["name"] for check in report["checks"]} >= {"toolchain", "cache", "llmos-mini", "import llm"}
    assert succeeds("doctor", "--warm") == ""


def test_doctor_names_a_module_that_shadows_ours(tmp_path: Path):
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "__init__.py").write_text("")
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    checks = json.loads(succeeds("doctor", "--quick", "--json", PYTHONPATH=path))["checks"]
    found = next(check for check in checks if check["name"] == "import llm")
    assert not found["ok"]
    assert str(tmp_path) in found["text"]


def test_doctor_says_how_to_get_a_missing_toolchain():
    done = llmos("doctor", "--json", LLMOS_CC="/no/such/compiler")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    toolchain = next(check for check in json.loads(done.stdout)["checks"] if check["name"] == "toolchain")
    assert "/no/such/compiler" in toolchain["text"]


def test_a_prompt_over_the_context_is_refused_with_the_counts():
    message = fails(2, "run", "--max-tokens", "2", given="word " * 3000)
    assert "512" in message


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("run", "./no-such-file.llm", "Hello"), "there is no file ./no-such-file.llm"),
        (("run", "no-such-file.llm"), "there is no file no-such-file.llm"),
        (("info", "no/such/folder"), "there is no file or folder no/such/folder"),
        (("compile", "no-such.bin", "-o", "x.llm"), "there is no file no-such.bin"),
        (("run", "Hello", "--overflow", "crop"), "drop_oldest"),
        (("info", "no-such-model"), "no-such-model"),
        (("run", "a", "b", "c"), "quotes"),
        (("run", "Hello", "--temperature", "-1"), "temperature"),
        (("run", "Hello", "--greedy", "--temperature", "1"), "greedy"),
        (("run", "llmos-mini", "Hello", "--context", "9999999"), "context"),
        (("run", "Hello", "--top-k", "3000000000"), "--top-k is 3000000000"),
        (("run", "Hello", "--lora", "x"), "Did you mean '--adapter'?"),
        (("run", "-m", "gpt2"), "the model is the first word, as in llmos run [MODEL] [PROMPT]"),
        (("run", "Hello", "--n-predict", "3"), "'--max-tokens'"),
        (("embed", "llmos-mini", "-p", "x"), "'-p': the prompt is the word"),
        (("run", "hf.co/owner/name", "Hello"), "hf.co/owner/name is an address: write owner/name\n"),
        (("info", "https://huggingface.co/owner/name:Q4_0"), "write owner/name:Q4_0\n"),
        (("info", "./:Q4_0"), "./ is here, without :Q4_0"),
        (("tran",), "train"),
        (("plan", "llmos-mini", "--free", "much"), "'much' is not a size"),
        (("compile", "llmos-mini", "-o", "mini.bin"), ".llm"),
        (("train", "no-such-recipe.toml"), "no-such-recipe"),
        (("completion", "tcsh"), "bash"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(args: tuple[str, ...], word: str, tmp_path: Path):
    assert word in fails(2, *args, cwd=tmp_path)


def test_a_sentence_with_slashes_or_a_suffix_is_a_prompt():
    for prompt in ("either/or is a book.", "open the file story.bin", "/me " + "and/or " * 60):
        assert json.loads(succeeds("run", prompt, "--max-tokens", "1", "--json"))["prompt"] == prompt


def test_messages_at_a_terminal_break_between_words():
    command = [sys.executable, "-m", "llmos.cli", "info", "no-such-model"]
    terminal = Terminal(command, COLUMNS="40")
    lines = terminal.expect(r"Hub\r\n").strip().split("\r\n")
    assert terminal.leave() == 2
    assert len(lines) > 3
    assert max(len(line) for line in lines) <= 40


def test_an_empty_standard_input_is_no_prompt():
    assert "no prompt" in fails(2, "run", given=" \n")


def test_an_unknown_variable_is_refused():
    assert "LLMOS_OFFLIN" in fails(2, "models", LLMOS_OFFLIN="1")


def test_an_unwritable_cache_is_refused():
    assert "LLMOS_CACHE" in fails(2, "run", "Hello", LLMOS_CACHE="/proc/no-such-place")


def test_a_bad_recipe_is_refused_before_anything_is_written(tmp_path: Path):
    (tmp_path / "bad.toml").write_text("[model\n")
    assert "bad.toml" in fails(2, "train", "bad.toml", cwd=tmp_path)
    (tmp_path / "bad.toml").write_text('folder = "out"\nmodle = 1\n')
    assert "model" in fails(2, "train", "bad.toml", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.toml"]


def test_a_reader_that_leaves_early_is_no_reason_to_complain(endless: Path):
    flags = "--context 65536 --max-tokens 65000 --greedy"  # more than a pipe holds, so that it must notice
    command = f"'{sys.executable}' -m llmos.cli run {endless} Once {flags} | head -c 3"
    script = f"{command}; echo ${{PIPESTATUS[0]}} >&2"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    assert done.stderr.strip() == "141"


@pytest.mark.parametrize(("shell", "word"), [("bash", "COMPREPLY"), ("zsh", "compdef"), ("fish", "complete")])
def test_completion_scripts_are_those_of_the_shell(shell: str, word: str):
    assert word in succeeds("completion", shell)


def test_completion_offers_the_verbs():
    assert "doctor" in succeeds(_LLMOS_COMPLETE="bash_complete", COMP_WORDS="llmos do", COMP_CWORD="1")
