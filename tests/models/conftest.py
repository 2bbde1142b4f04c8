"""A hub, a cache and model folders of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import HubModel, HubServer
from tests.opening import FILES, fetch_all, open_model
from tests.weight_files import safetensors_bytes

HUB_VARIABLES = (
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_HUB_ETAG_TIMEOUT",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, whatever the machine's own variables say. Returns its folder."""
    for name in HUB_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub"


@pytest.fixture
def hub(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub without models that HF_ENDPOINT points to, and an empty cache."""
    from huggingface_hub import close_session, constants

    # huggingface_hub reads its variables when it is imported. What we pass it ourselves (the endpoint, the cache) holds
    # all the same; these two it looks up in its constants.
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(empty_cache / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Its connections outlive a call, and would be to the server of the test before.
    close_session()
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server
    close_session()


@pytest.fixture
def model(hub: HubServer) -> HubModel:
    """A model on the hub, `org/model`."""
    return hub.add("org/model", FILES)


@pytest.fixture
def cached(hub: HubServer, model: HubModel) -> HubModel:
    """The same, cached whole, and a hub that hasn't been asked for anything since."""
    fetch_all(open_model("org/model"))
    hub.requests.clear()
    return model


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub waits some seconds between its tries; a test needn't."""
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A folder with a config.json and weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").write_bytes(safetensors_bytes(a=3, b=2))
    return folder
