"""Reading a saved result back."""

from __future__ import annotations

import json
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from attncli.errors import FailedError

if TYPE_CHECKING:
    from attncli.results.compare import CompareResult
    from attncli.results.heads import HeadsResult
    from attncli.results.params import ParamsResult
    from attncli.results.tokenize import TokenizeResult

    Result: TypeAlias = CompareResult | HeadsResult | ParamsResult | TokenizeResult

_CLASSES = {
    "compare": "CompareResult",
    "heads": "HeadsResult",
    "params": "ParamsResult",
    "tokenize": "TokenizeResult",
}
_AGAIN = "save the result again with -o FILE.json"
_HOW_TO_SAVE = "save a result with -o FILE.json"


def read(path: str | PathLike[str]) -> Result:
    """The result that `attn VERB … --json`, `-o FILE.json` or `json.dump(result.to_dict(), …)` saved.

    It shows itself as the first one did, where the file holds what is shown: `--patterns` saves those of all heads.
    Raises FailedError for a file that can't be read or doesn't hold a whole result of this version's format.
    """
    data = _read_json(Path(path))
    schema = data.get("schema") if isinstance(data, dict) else None
    verb, _, version = schema.removeprefix("attncli.").partition("/") if isinstance(schema, str) else ("", "", "")
    if verb not in _CLASSES:
        raise FailedError(f"{path} isn't a result of attn: it has no known schema", hint=_HOW_TO_SAVE)
    module = import_module(f"attncli.results.{verb}")
    if schema != module.SCHEMA:
        raise FailedError(
            f"{path} has the format {version or '?'} of attn {verb}, and this version reads {module.SCHEMA}",
            hint="save the result again with this version of attncli",
        )
    if verb == "tokenize" and any(isinstance(text, dict) and "tokens" not in text for text in data.get("texts") or ()):
        raise FailedError(
            f"{path} holds ids or counts alone, which are no result to show", hint="save it without --ids and --count"
        )
    try:
        return cast("Result", getattr(module, _CLASSES[verb]).from_dict(data))
    except KeyError as error:
        raise FailedError(f"{path} isn't a whole result: it lacks {error.args[0]!r}", hint=_AGAIN) from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise FailedError(f"{path} isn't a valid result: {error}", hint=_AGAIN) from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FailedError(f"can't read {path}: {reason}", hint=_HOW_TO_SAVE) from error
    except (ValueError, RecursionError) as error:
        raise FailedError(f"{path} isn't JSON: {error}", hint=_HOW_TO_SAVE) from error
