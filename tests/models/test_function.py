"""`file.py:function`: the user's own code returns a module, and weights are never made."""

from __future__ import annotations

from pathlib import Path

import pytest

from attncli.errors import ModelError
from attncli.models.files.reference import parse_reference
from attncli.models.loading.own_code import call_module_function

GOOD = """
from dataclasses import dataclass
from torch import nn
from beside import WIDTH

@dataclass
class Sizes:
    width: int

def huge():
    return nn.Linear(Sizes(WIDTH).width, 1 << 20)

def number():
    return 5

def broken():
    raise ValueError("the width is missing.\\nmore")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("WIDTH = 1 << 20\n")
    (tmp_path / "mine.py").write_text(GOOD)
    (tmp_path / "wrong.py").write_text("import no_such_package\n\ndef make(): ...\n")
    return tmp_path


def test_a_module_of_a_trillion_weights_takes_no_memory(code: Path) -> None:
    module = call_module_function(parse_reference(f"{code}/mine.py:huge"))
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}
    assert sum(parameter.numel() for parameter in module.parameters()) == (1 << 40) + (1 << 20)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("mine.py:number", "returned a int, which is not a module"),
        ("mine.py:none", "mine.py has no function none"),
        ("mine.py:broken", "failed with ValueError: the width is missing"),
        ("wrong.py:make", "failed with ModuleNotFoundError: No module named 'no_such_package'"),
    ],
)
def test_code_that_returns_none(code: Path, function: str, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        call_module_function(parse_reference(f"{code}/{function}"))
    assert message in caught.value.message
