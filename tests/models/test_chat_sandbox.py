"""The process that chat templates run in: what it renders, what it refuses, and what it is stopped for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from attncli.errors import FailedError
from attncli.models.chat.sandbox import Call, Rendering, Sandbox, StoppedError

HELLO = {"role": "user", "content": "Hello"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as opened:
        yield opened


def rendered(sandbox: Sandbox, source: str, **variables: object) -> Rendering:
    (rendering,) = sandbox.render(source, [HELLO], variables, [Call([0])])
    return rendering


def test_calls_pick_their_messages(sandbox: Sandbox) -> None:
    source = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}!{% endif %}"
    messages = [{"content": "a"}, {"content": "b"}]
    calls = [Call([]), Call([1, 0, 1]), Call(range(2), generation=True)]
    assert [each.text for each in sandbox.render(source, messages, {}, calls)] == ["", "bab", "ab!"]


def test_any_text_comes_back_as_it_was(sandbox: Sandbox) -> None:
    text = "é 👍 \x00 \r\n \u2028 \ud800 <&>"
    assert rendered(sandbox, "{{ x }}", x=text).text == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("  {% if true %}\nx\n  {% endif %}\n", "x\n"),  # blocks leave no lines and no indent
        ("{{ {'a': '<é>'} | tojson }}", '{"a": "<é>"}'),
        ("{{ {'b': 1, 'a': [1]} | tojson(indent=1, sort_keys=true) }}", '{\n "a": [\n  1\n ],\n "b": 1\n}'),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}!", "Hello!"),
        ("{% set n = namespace(a=1, self=2) %}{% set n.a = 3 %}{{ n.a + n.self }}", "5"),
        ("{{ dict(a=1) }}{{ dict.fromkeys('a') }}", "{'a': 1}{'a': None}"),
        ("{{ bos_token }}{{ nothing }}", ""),
        ("{{ lipsum(1) | length > 9 }}{{ 'a b' | wordwrap(1) }}{{ 1 | pprint }}", "Truea\nb1"),
    ],
)
def test_the_environment_of_transformers(source: str, text: str, sandbox: Sandbox) -> None:
    assert rendered(sandbox, source).text == text


def test_the_time_is_the_real_one(sandbox: Sandbox) -> None:
    assert str(rendered(sandbox, "{{ strftime_now('%d %B %Y') }}").text)[-4:-2] == "20"


@pytest.mark.parametrize(
    ("source", "kind", "message", "line", "column", "excerpt"),
    [
        ("a\n {{ raise_exception('No!') }}", "refused", "No!", 2, 2, "{{ raise_exception('No!') }}"),
        ("{{ 1 }}{{ messages[0].a.b }}", "failed", "'dict object' has no attribute 'a'", 1, 8, "{{ messages[0].a.b }}"),
        ("{% macro f(x) %}{{ x + 1 }}{% endmacro %}{{ f('') }}", "failed", None, 1, 17, "{{ x + 1 }}"),
        ("{% if\n  1\n %}{% for x in 3 %}{% endfor %}{% endif %}", "failed", None, 3, 4, "{% for x in 3 %}"),
        ("a{% if %}", "syntax", None, 1, 2, "{% if %}"),
        ("{% no %}", "syntax", None, 1, 1, "{% no %}"),
        ("{{ ''.__class__.mro() }}", "failed", None, 1, 1, "{{ ''.__class__.mro() }}"),
        ("{{ messages.append(1) }}", "failed", None, 1, 1, "{{ messages.append(1) }}"),
        ("{{ namespace(__init__=1) }}", "failed", None, 1, 1, "{{ namespace(__init__=1) }}"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "failed", None, 1, 16, "{{ f() }}"),
        ("{{ range(10 ** 9) }}", "failed", None, 1, 1, "{{ range(10 ** 9) }}"),
    ],
)
def test_a_failure_says_where(
    source: str, kind: str, message: str | None, line: int, column: int, excerpt: str, sandbox: Sandbox
) -> None:
    rendering = rendered(sandbox, source)
    assert rendering.text is None
    assert rendering.message if message is None else rendering.message == message
    assert rendering[1:2] + rendering[3:] == (kind, line, column, excerpt)


NESTED = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize("source", [NESTED, "{{ 7 ** (7 ** 9) }}"], ids=["loops", "one long operation"])
def test_a_template_without_end_is_stopped(source: str) -> None:
    with Sandbox(seconds=0.3) as sandbox:
        with pytest.raises(StoppedError) as caught:
            rendered(sandbox, source)
        assert caught.value.slow
        # The next one gets a process of its own, and its own answer.
        assert rendered(sandbox, "{{ messages[0].content }}").text == "Hello"


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is the system's")
@pytest.mark.parametrize("source", ["{{ 'x' * 10 ** 10 }}", "{{ [1] * 10 ** 9 }}"])
def test_memory_is_bounded(source: str, sandbox: Sandbox) -> None:
    assert [each.kind for each in sandbox.render(source, [], {}, [Call([]), Call([])])] == ["memory", "memory"]


def test_nothing_outside_is_touched(tmp_path: Path) -> None:
    """With a template that got out of jinja2's sandbox, played by Python code in the child."""
    deeds = [
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"__import__('os').remove({str(tmp_path / 'there')!r})",
        "__import__('os').system('true')",
        "__import__('subprocess').run(['true'])",
        "__import__('socket').create_connection(('127.0.0.1', 9))",
    ]
    (tmp_path / "there").touch()
    script = f"""if True:
        from attncli.models.chat import program
        import socket, subprocess
        program._set_limits()
        for deed in {deeds!r}:
            try:
                eval(deed)
            except PermissionError:
                print("refused")
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["refused"] * len(deeds)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_child_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncli.models.chat.sandbox._package_folders", list)
    with Sandbox() as sandbox, pytest.raises(FailedError, match="could not be started") as caught:
        rendered(sandbox, "")
    assert "jinja2" in caught.value.hint


def test_the_child_imports_little() -> None:
    script = "import sys; from attncli.models.chat import program; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"click", "numpy", "rich", "tokenizers", "torch", "transformers", "huggingface_hub"}
    assert not heavy & set(done.stdout.split())


def test_it_ends_with_its_block() -> None:
    with Sandbox() as sandbox:
        rendered(sandbox, "")
        child = sandbox._child
    assert child is not None and child._process.poll() is not None
