"""Models of the hub as they are fetched and cached, against a server of our own that speaks the hub's calls."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from attncli.errors import ModelError
from attncli.models.files.hub_cache import hub_settings
from tests.hub_server import HubModel, HubServer
from tests.opening import FILES, WEIGHTS, fetch_all, open_model, refusal
from tests.weight_files import index_bytes, safetensors_bytes

# Fresh and cached


def test_a_fresh_model_is_fetched(hub: HubServer, model: HubModel) -> None:
    files = open_model("org/model")
    assert files.require("config.json").read_bytes() == b"{}"
    assert files.find("tokenizer_config.json") is None
    assert [path.read_bytes() for path in files.weights().paths] == [WEIGHTS]
    assert files.revision == model.revisions["main"]
    # One question for the list of files, and a look and a download for each that is there; none for one that isn't.
    assert len(hub.requests) == 1 + 2 * 2


def test_a_cached_model_costs_no_request(hub: HubServer, cached: HubModel) -> None:
    files = open_model("org/model")
    fetch_all(files)
    assert files.revision == cached.revisions["main"]
    assert hub.requests == []


def test_a_cached_model_needs_no_huggingface_hub(cached: HubModel) -> None:
    code = """
import sys
from attncli.models.files.model_files import open_files
from attncli.models.files.reference import parse_reference
files = open_files(parse_reference("org/model"))
print(files.require("config.json").name, files.find("tokenizer_config.json"), len(files.weights().paths))
print(sorted({"huggingface_hub", "torch", "transformers", "numpy", "rich"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("config.json None 1\n[]\n", "")


def test_a_cache_that_another_program_filled_costs_no_request(hub: HubServer, model: HubModel) -> None:
    from huggingface_hub import hf_hub_download

    for name in FILES:
        hf_hub_download("org/model", name, endpoint=hub.url, cache_dir=hub_settings().cache)
    hub.requests.clear()
    assert open_model("org/model").require("config.json").read_bytes() == b"{}"
    assert len(open_model("org/model").weights().paths) == 1
    assert hub.requests == []


def test_shards_that_another_program_fetched_cost_no_request(hub: HubServer) -> None:
    from huggingface_hub import hf_hub_download

    files = {
        "model.safetensors.index.json": index_bytes({"a": "model-1.safetensors"}),
        "model-1.safetensors": safetensors_bytes(a=1),
    }
    hub.add("org/shards", files)
    for name in files:
        hf_hub_download("org/shards", name, endpoint=hub.url, cache_dir=hub_settings().cache)
    hub.requests.clear()
    assert [path.name for path in open_model("org/shards").weights().paths] == ["model-1.safetensors"]
    assert hub.requests == []


def test_a_model_that_has_moved_is_found_under_both_names(hub: HubServer, model: HubModel) -> None:
    hub.moved["old"] = "org/model"
    fetch_all(open_model("old"))
    hub.requests.clear()
    assert open_model("old").require("config.json").read_bytes() == b"{}"
    assert hub.requests == []


def test_another_program_finds_what_was_fetched(hub: HubServer, cached: HubModel) -> None:
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    cache = hub_settings().cache
    assert Path(snapshot_download("org/model", cache_dir=cache, local_files_only=True), "config.json").exists()
    assert try_to_load_from_cache("org/model", "config.json", cache_dir=cache) == str(
        open_model("org/model").find("config.json")
    )


@pytest.mark.parametrize("content", ["", "../../elsewhere", "\xff"])
def test_a_reference_that_is_no_commit_counts_as_none(hub: HubServer, cached: HubModel, content: str) -> None:
    reference = hub_settings().cache / "models--org--model" / "refs" / "main"
    reference.write_bytes(content.encode("latin-1"))
    assert open_model("org/model").revision == cached.revisions["main"]
    assert reference.read_text() == cached.revisions["main"]


def test_a_dangling_link_is_not_taken_for_a_file(hub: HubServer, cached: HubModel) -> None:
    path = open_model("org/model").require("config.json")
    path.resolve().unlink()
    assert open_model("org/model").require("config.json").read_bytes() == b"{}"


def test_a_file_that_a_cached_model_lacks_is_asked_for_once(hub: HubServer, cached: HubModel) -> None:
    assert open_model("org/model").find("merges.txt") is None
    assert len(hub.requests) == 1
    assert open_model("org/model").find("merges.txt") is None
    assert len(hub.requests) == 1


def test_all_files_come_from_one_commit(hub: HubServer, model: HubModel) -> None:
    files = open_model("org/model")
    first = model.revisions["main"]
    model.commit({**FILES, "tokenizer.json": b"newer"})
    assert files.require("tokenizer.json").read_bytes() == FILES["tokenizer.json"]
    # A later run goes on with the commit that is cached, also for files that aren't cached yet.
    later = open_model("org/model")
    assert later.weights().paths[0].read_bytes() == WEIGHTS
    assert (files.revision, later.revision) == (first, first)


def test_nothing_is_printed(
    hub: HubServer, model: HubModel, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger, said = logging.getLogger("huggingface_hub"), list[logging.LogRecord]()
    monkeypatch.setattr(logger, "handlers", [*logger.handlers, _Collector(said)])
    before = logger.level
    hub.warning = "the hub has something to say"
    fetch_all(open_model("org/model"))
    assert capfd.readouterr() == ("", "")
    assert said == []
    assert logger.level == before


class _Collector(logging.Handler):
    def __init__(self, into: list[logging.LogRecord]) -> None:
        super().__init__()
        self.emit = into.append  # type: ignore[method-assign]


# Refresh and revisions


def test_refresh_takes_the_newest_commit(hub: HubServer, cached: HubModel) -> None:
    newest = cached.commit({**FILES, "config.json": b'{"newer": true}'})
    assert open_model("org/model").require("config.json").read_bytes() == b"{}"
    assert hub.requests == []
    files = open_model("org/model", refresh=True)
    assert (files.revision, files.require("config.json").read_bytes()) == (newest, b'{"newer": true}')
    hub.requests.clear()
    assert open_model("org/model").revision == newest
    assert hub.requests == []


def test_refresh_downloads_nothing_that_has_not_changed(hub: HubServer, cached: HubModel) -> None:
    fetch_all(open_model("org/model", refresh=True))
    assert hub.requests == ["GET /api/models/org/model/revision/main"]


def test_a_branch_a_tag_and_a_commit(hub: HubServer, model: HubModel) -> None:
    commit = model.commit({"config.json": b"old"}, revision="v1.0")
    model.commit({"config.json": b"pull request"}, revision="refs/pr/1")
    assert open_model("org/model@v1.0").require("config.json").read_bytes() == b"old"
    assert open_model("org/model@refs/pr/1").require("config.json").read_bytes() == b"pull request"
    hub.requests.clear()
    assert open_model(f"org/model@{commit}").require("config.json").read_bytes() == b"old"
    assert open_model("org/model", revision="v1.0").revision == commit
    assert open_model("org/model@refs/pr/1").require("config.json").read_bytes() == b"pull request"
    assert hub.requests == []


def test_an_unknown_revision(hub: HubServer, model: HubModel) -> None:
    error = refusal("org/model@v9")
    assert error.message == "org/model has no revision v9"
    assert error.hint == f"leave it out for the newest version, or give a branch, tag or commit of {hub.url}/org/model"


def test_a_commit_that_is_gone_from_the_hub(cached: HubModel) -> None:
    cached.commits.clear()
    cached.commit(FILES | {"added.txt": b""})
    error = refusal("org/model", name="added.txt")
    assert "any more, and it is cached only in part" in error.message
    assert error.hint == "add --refresh for the newest version"


# Weights


def test_shards(hub: HubServer) -> None:
    shards = {f"model-{number}.safetensors": safetensors_bytes(a=number) for number in (1, 2)}
    index = index_bytes({"a": "model-1.safetensors", "b": "model-2.safetensors"})
    hub.add("org/shards", {"config.json": b"{}", "model.safetensors.index.json": index, **shards})
    weights = open_model("org/shards").weights()
    assert [path.name for path in weights.paths] == list(shards)
    hub.requests.clear()
    assert open_model("org/shards").weights() == weights
    assert hub.requests == []


def test_a_pickle_is_refused_before_it_is_downloaded(hub: HubServer) -> None:
    hub.add("org/pickle", {"config.json": b"{}", "pytorch_model.bin": b"PK"})
    with pytest.raises(ModelError, match="are stored as pickle"):
        open_model("org/pickle").weights()
    assert hub.requests == ["GET /api/models/org/pickle/revision/main"]
    assert open_model("org/pickle").weights(allow_pickle=True).kind == "pickle"


def test_a_gguf_by_name(hub: HubServer) -> None:
    hub.add("org/ggufs", {"q4/x.gguf": b"GGUF\x03", "y.gguf": b"GGUF\x03"})
    weights = open_model("org/ggufs/q4/x.gguf").weights()
    assert (weights.kind, weights.paths[0].name) == ("gguf", "x.gguf")
    with pytest.raises(ModelError) as caught:
        open_model("org/ggufs/z.gguf").weights()
    assert (caught.value.message, caught.value.hint) == (
        "org/ggufs has no file z.gguf",
        "its files are q4/x.gguf, y.gguf",
    )


def test_a_model_of_ggufs_alone_says_how_to_name_one(hub: HubServer) -> None:
    hub.add("org/ggufs", {"x.gguf": b"GGUF\x03"})
    assert refusal("org/ggufs").hint == "give one of its files: org/ggufs/x.gguf"
    with pytest.raises(ModelError) as caught:
        open_model("org/ggufs@main").weights()
    assert caught.value.hint == "give one of its files: org/ggufs/x.gguf@main"


def test_a_broken_file_in_the_cache_says_what_to_delete(hub: HubServer) -> None:
    hub.add("org/broken", {"model.safetensors": WEIGHTS[:-1]})
    with pytest.raises(ModelError, match="it is incomplete") as caught:
        open_model("org/broken").weights()
    folder = hub_settings().cache / "models--org--broken"
    assert caught.value.hint == f"delete {folder} and run the command again to download it"


def test_an_adapter_on_the_hub(hub: HubServer, cached: HubModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncli.models.files.model_files.find_spec", lambda _: object())
    config = b'{"base_model_name_or_path": "org/model"}'
    hub.add("org/adapter", {"adapter_config.json": config, "adapter_model.safetensors": safetensors_bytes(lora=1)})
    files = open_model("org/adapter")
    assert files.weights().paths[0].read_bytes() == WEIGHTS
    assert files.adapter is not None
    assert (files.adapter / "adapter_model.safetensors").exists()
    hub.requests.clear()
    again = open_model("org/adapter")
    again.weights()
    assert (again.adapter, hub.requests) == (files.adapter, [])
