"""Names to models, downloads from a real server included."""

import os
import subprocess
import sys

import pytest

from llmos.core.errors import UserError
from llmos.hub import embedded_models, resolve
from tests.hub_server import serve


def child(code: str, tmp_path, endpoint: str, **more: str) -> subprocess.CompletedProcess:
    """Runs code in a fresh process whose Hub cache is empty: the library reads its settings when it is imported."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    env |= {"HF_HOME": str(tmp_path / "hf"), "LLMOS_HUB_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", **more}
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code], env=env, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    pickled = tmp_path_factory.mktemp("pickled")
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with serve({"someone/mini": resolve("llmos-mini").path, "someone/pickled": pickled}) as address:
        yield address


LOAD = """
import sys
from llmos.hub import resolve
from llmos.core.errors import LlmosError
seen = []
try:
    found = resolve(sys.argv[1] if len(sys.argv) > 1 else NAME, progress=lambda *a: seen.append(a))
    print(found.kind, sorted(p.name for p in found.path.iterdir()), len(seen) > 0)
except LlmosError as error:
    print(type(error).__name__, error)
"""


def test_a_repository_is_downloaded_with_progress_and_then_used_offline(endpoint, tmp_path):
    code = LOAD.replace("NAME", "'someone/mini'")
    done = child(code, tmp_path, endpoint)
    assert done.stdout.startswith("folder"), done.stderr
    assert "model.safetensors" in done.stdout
    assert done.stdout.strip().endswith("True")
    again = child(code, tmp_path, "http://127.0.0.1:9", LLMOS_OFFLINE="1")
    assert again.stdout.startswith("folder"), again.stdout + again.stderr


def test_an_adapter_is_downloaded_whole_and_what_is_there_twice_once(tmp_path):
    both, only = tmp_path / "both", tmp_path / "only"
    (both / "original").mkdir(parents=True)
    only.mkdir()
    for name in (
        "adapter_config.json",
        "adapter_model.safetensors",
        "consolidated.safetensors",
        "original/x.safetensors",
    ):
        (both / name).write_bytes(b"{}")
    (only / "consolidated.safetensors").write_bytes(b"{}")
    with serve({"someone/both": both, "someone/only": only}) as endpoint:
        found = child(LOAD.replace("NAME", "'someone/both'"), tmp_path, endpoint)
        refused = child(LOAD.replace("NAME", "'someone/only'"), tmp_path, endpoint)
    assert "['adapter_config.json', 'adapter_model.safetensors']" in found.stdout, found.stderr
    assert "UserError someone/only holds its weights as consolidated.safetensors only" in refused.stdout


def test_without_a_network_what_was_downloaded_is_used_and_said(endpoint, tmp_path):
    code = LOAD.replace("NAME", "'someone/mini'") + "print(found.notice)"
    assert child(code, tmp_path, endpoint).stdout.endswith("None\n")
    offline = child(code, tmp_path, endpoint, HF_HUB_OFFLINE="1")
    assert "someone/mini is taken as it was downloaded before" in offline.stdout, offline.stderr
    with serve({}, failing=503) as broken:
        assert "someone/mini is taken as it was downloaded before" in child(code, tmp_path, broken).stdout
    nowhere = child(code, tmp_path, "http://127.0.0.1:9")
    assert nowhere.stdout.startswith("folder"), nowhere.stdout + nowhere.stderr
    assert "someone/mini is taken as it was downloaded before" in nowhere.stdout
    assert nowhere.stderr == ""


def test_without_a_network_what_is_not_here_is_one_line(tmp_path):
    done = child(LOAD.replace("NAME", "'someone/mini'"), tmp_path, "http://127.0.0.1:9")
    assert done.stdout.startswith("ResourceError someone/mini is not on this machine and the Hub cannot be reached")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("someone/missing", "UserError there is no model someone/missing"),
        ("someone/pickled", "UserError someone/pickled holds only pickles"),
    ],
)
def test_what_cannot_be_had_is_said(endpoint, tmp_path, name, said):
    done = child(LOAD.replace("NAME", repr(name)), tmp_path, endpoint)
    assert done.stdout.startswith(said), done.stdout + done.stderr
    assert not list((tmp_path / "hf").rglob("pytorch_model.bin"))


def test_offline_without_a_copy_is_said(endpoint, tmp_path):
    done = child(LOAD.replace("NAME", "'someone/mini'"), tmp_path, endpoint, LLMOS_OFFLINE="1")
    assert "not on this machine" in done.stdout and "LLMOS_OFFLINE=1" in done.stdout, done.stdout + done.stderr


def test_a_hub_that_does_not_answer_is_said(tmp_path):
    done = child(LOAD.replace("NAME", "'someone/mini'"), tmp_path, "http://127.0.0.1:9")
    assert done.stdout.startswith("ResourceError"), done.stdout + done.stderr


def test_embedded_catalogue_and_paths(tmp_path):
    assert "llmos-mini" in embedded_models()
    assert resolve("llmos-mini").notice is None
    assert "OPT" in resolve("gpt-3").notice
    assert resolve(str(tmp_path)).kind == "folder"
    (tmp_path / "x.llm").write_bytes(b"")
    assert resolve(str(tmp_path / "x.llm")).kind == "bundle"
    (tmp_path / "x.pt").write_bytes(b"")
    with pytest.raises(UserError, match="pickle"):
        resolve(str(tmp_path / "x.pt"))
    with pytest.raises(UserError, match="known names"):
        resolve("zzzzzzzz")


@pytest.mark.parametrize(
    "name", ["mini.llm", "a/mini.llm", "./mini", "../a/b", "/a/b", "~/mini", "a/b/c", "a/", "m.GGUF"]
)
def test_what_is_written_like_a_path_is_missed_as_one(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^there is no file"):
        resolve(name, offline=True)


def test_a_missing_file_is_told_with_what_is_there(tmp_path):
    (tmp_path / "story.llm").write_bytes(b"")
    with pytest.raises(UserError, match=rf"there is no file .*stroy.llm: did you mean {tmp_path / 'story.llm'}\?"):
        resolve(str(tmp_path / "stroy.llm"))
    with pytest.raises(UserError, match=rf"there is no folder {tmp_path / 'nowhere'}$"):
        resolve(str(tmp_path / "nowhere" / "x.llm"))


@pytest.mark.parametrize("name", ["x" * 5000, "/" + "x" * 5000, "~no-such-user/x", "a\0b", ""])
def test_names_that_no_file_can_have_are_refused_too(name):
    with pytest.raises(UserError, match="there is no"):
        resolve(name, offline=True)


def test_an_unknown_word_is_no_path_and_an_owner_with_a_name_is_of_the_hub():
    with pytest.raises(UserError, match="there is no model 'gtp2': did you mean gpt2"):
        resolve("gtp2")
    with pytest.raises(UserError, match=r"meta-llama/Llama-3\.1-8B is not on this machine"):
        resolve("meta-llama/Llama-3.1-8B", offline=True)


def test_a_misspelt_model_of_the_working_folder_is_suggested(tmp_path, monkeypatch):
    (tmp_path / "my-story").mkdir()
    (tmp_path / "my-story" / "config.json").write_text("{}")
    (tmp_path / "my-stories").mkdir()  # no model
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"there is no model 'my-storie': did you mean my-story\?"):
        resolve("my-storie")
    with pytest.raises(UserError, match=r"did you mean gpt2"):
        resolve("gtp2")


def test_an_owner_whose_name_is_a_folder_here_begins_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert resolve("models/mine", offline=True).kind == "folder"
    with pytest.raises(
        UserError, match=r"^there is no file or folder models/mime: did you mean models/mine\? .*@main\)$"
    ):
        resolve("models/mime", offline=True)
    with pytest.raises(UserError, match="models/mime is not on this machine"):
        resolve("models/mime@main", offline=True)
    (tmp_path / "story.txt").write_text("")
    with pytest.raises(UserError, match="others/mime is not on this machine"):
        resolve("others/mime", offline=True)


def test_a_catalogue_name_is_of_the_hub_whatever_folders_are_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "openai-community").mkdir()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    with pytest.raises(UserError, match=r"openai-community/gpt2 is not on this machine"):
        resolve("gpt2", offline=True)


@pytest.mark.parametrize(
    ("file", "said"), [("x.onnx", "not a kind of model"), ("model.safetensors", "give the folder that holds it")]
)
def test_files_of_other_kinds_are_told_what_to_do(tmp_path, file, said):
    (tmp_path / file).write_bytes(b"")
    with pytest.raises(UserError, match=said):
        resolve(str(tmp_path / file))


def test_a_gguf_file_or_a_folder_with_one_is_a_model(tmp_path):
    for name in ("a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "mmproj-a.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    for path in (tmp_path / "a-00001-of-00002.gguf", tmp_path):
        found = resolve(str(path))
        assert (found.kind, found.path) == ("gguf", tmp_path / "a-00001-of-00002.gguf")
        assert found.display == str(path)
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"several models: name one of a-00001-of-00002\.gguf, b\.gguf"):
        resolve(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert resolve(str(tmp_path)).kind == "folder"
