"""Reading a saved result back."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from attncli.errors import FailedError
from attncli.verbs import VERBS

if TYPE_CHECKING:
    from attncli.results.compare import CompareResult
    from attncli.results.heads import HeadsResult
    from attncli.results.params import ParamsResult
    from attncli.results.tokenize import TokenizeResult

    Result: TypeAlias = CompareResult | HeadsResult | ParamsResult | TokenizeResult

_AGAIN = "save the result again with -o FILE.json"
_HOW_TO_SAVE = "save a result with -o FILE.json"


def read(path: str | PathLike[str]) -> Result:
    """The result that `attn VERB … --json`, `-o FILE.json` or `json.dump(result.to_dict(), …)` saved.

    It shows itself as the first one did, where the file holds what is shown: `--patterns` saves those of all heads.
    Raises FailedError for a file that can't be read or doesn't hold a whole result of this version's format.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FailedError(f"can't read {path}: {reason}", hint=_HOW_TO_SAVE) from error
    return parse_result(content, str(path))


def parse_result(content: bytes, name: str) -> Result:
    """The same from the content of a file, with its name for errors."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise FailedError(f"{name} isn't JSON: {error}", hint=_HOW_TO_SAVE) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    verb, _, version = schema.removeprefix("attncli.").partition("/") if isinstance(schema, str) else ("", "", "")
    if verb not in VERBS:
        raise FailedError(f"{name} is not a result of attn: it has no known schema", hint=_HOW_TO_SAVE)
    if schema != VERBS[verb].schema:
        raise FailedError(
            f"{name} has the format {version or '?'} of attn {verb}, and this version of attn reads "
            f"{VERBS[verb].schema}",
            hint="save the result again with this version of attncli",
        )
    if verb == "tokenize" and any(isinstance(text, dict) and "tokens" not in text for text in data.get("texts") or ()):
        raise FailedError(
            f"{name} contains only ids or counts, which can't be shown as a result",
            hint="save the result without --ids and --count",
        )
    try:
        return cast("Result", VERBS[verb].load("result").from_dict(data))
    except KeyError as error:
        raise FailedError(f"{name} is not a complete result: {error.args[0]!r} is missing", hint=_AGAIN) from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise FailedError(f"{name} is not a valid result: {error}", hint=_AGAIN) from error
