"""What a command wrote, in a form that is readable, small, and the same on every machine.

Each part of an outcome becomes a `Section`: terminal text stays as it is; JSON and JSONL are laid out over lines, with
floats of six digits; arrays, packed bytes and long lists of numbers become their shape and a few figures; scripts and
styles of a page become names and hashes.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import html
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.golden.attn import package_files

#: A list of numbers, however nested, is written out up to so many.
_MOST_NUMBERS = 150
#: Lines that are kept of a part; the rest is a count and a hash.
_MOST_LINES = 260
#: Characters of a text in JSON.
_LONGEST_TEXT = 600
#: Values that may stand on one line.
_MOST_ON_A_LINE = 20


class Section(NamedTuple):
    """name: stdout, stderr or a file's.  kind: `text` is drawn for a reader, `data` is for programs."""

    name: str
    kind: str
    text: str


def section(name: str, form: str, content: bytes) -> Section:
    """form: text, or a file's ending without the dot."""
    if form == "npz":
        return Section(name, "data", _arrays(content))
    written = content.decode("utf-8")
    if form == "json":
        return Section(name, "data", _shortened(_json_text(written)))
    if form == "jsonl":
        return Section(name, "data", _shortened("".join(_json_text(line) for line in written.splitlines(True))))
    if form == "csv":
        return Section(name, "data", _shortened(_csv_text(written)))
    if form == "html":
        return Section(name, "data", _shortened(_page(written)))
    if form == "svg":
        return Section(name, "data", _shortened(_drawing(written)))
    return Section(name, "text", _shortened(shown(written)))


def shown(text: str) -> str:
    """Control characters as signs that a diff shows; ␄ where the last line has no end."""
    text = text.replace("\x1b", "␛").replace("\r", "␍").replace("\x00", "␀")
    return text if text.endswith("\n") or not text else f"{text}␄\n"


def _shortened(text: str) -> str:
    lines = text.splitlines(True)
    if len(lines) <= _MOST_LINES:
        return text
    rest = "".join(lines[_MOST_LINES:])
    # Without its numbers, which may differ a little on another machine.
    digest = hashlib.sha256(re.sub(r"-?\d+(\.\d+)?(e[-+]?\d+)?", "#", rest).encode()).hexdigest()[:16]
    return "".join(lines[:_MOST_LINES]) + f"… {len(lines) - _MOST_LINES} more lines, without numbers {digest}\n"


# JSON


def _json_text(written: str) -> str:
    """Laid out. Says so where it isn't one line as `json.dumps` writes it."""
    value = json.loads(written)
    plain = [json.dumps(value, ensure_ascii=ascii_only) + "\n" for ascii_only in (False, True)]
    remark = "" if written in plain else "(not written as json.dumps does)\n"
    return remark + "".join(f"{line}\n" for line in _laid_out(_masked(value)))


def _masked(value: Any) -> Any:
    """With what differs between machines and versions taken out, and what is large summed up."""
    if isinstance(value, Mapping):
        return {key: _made_by(each) if key == "made_by" else _masked(each) for key, each in value.items()}
    if isinstance(value, list):
        if _count(value) > _MOST_NUMBERS:
            return _figures(np.array(value, dtype=float))
        return [_masked(each) for each in value]
    if isinstance(value, str) and (data := _unpacked(value)) is not None:
        return _packed(data)
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"{value[:60]}… {len(value)} characters {_hash(value)}"
    return value


def _made_by(value: Any) -> Any:
    """The keys, and what isn't a version."""
    if not isinstance(value, Mapping):
        return "…"
    return {key: each if key == "model_class" or each is None else "…" for key, each in value.items()}


def _count(value: Any) -> int:
    """How many numbers a regular nest of lists holds; 0 if it is something else."""
    if not isinstance(value, list) or not value:
        return 0
    if all(isinstance(each, list) for each in value):
        if len({len(each) for each in value}) > 1:
            return 0
        counts = [_count(each) for each in value]
        return sum(counts) if all(counts) else 0
    numbers = all((isinstance(each, int | float) and not isinstance(each, bool)) or each is None for each in value)
    return len(value) if numbers else 0


def _figures(array: np.ndarray) -> dict[str, Any]:
    """Shape, mean, a mean with weights that tell the places apart, ends, and the first numbers."""
    known = np.nan_to_num(array.astype(float).ravel())
    weights = np.cos(np.arange(known.size))
    return {
        "shape": list(array.shape),
        "mean": float(known.mean()) if known.size else 0.0,
        "weighted": float((known * weights).sum() / max(np.abs(weights).sum(), 1e-9)),
        "least": float(known.min()) if known.size else 0.0,
        "most": float(known.max()) if known.size else 0.0,
        "first": [float(each) for each in known[:4]],
    }


def _unpacked(text: str) -> bytes | None:
    """The bytes of base64 that holds what zlib pressed, else None."""
    if len(text) < 12 or not re.fullmatch(r"[A-Za-z0-9+/]+=*", text):
        return None
    try:
        return zlib.decompress(base64.b64decode(text, validate=True))
    except (binascii.Error, zlib.error):
        return None


def _packed(data: bytes) -> dict[str, Any]:
    """A byte may differ by one where its number lies between two: `~` marks figures that are compared loosely."""
    numbers = np.frombuffer(data, dtype=np.uint8).astype(float)
    weights = np.abs(np.cos(np.arange(numbers.size)))
    mean = float((numbers * weights).sum() / weights.sum()) if numbers.size else 0.0
    return {
        "packed_bytes": len(data),
        "mean": f"~{numbers.mean() if numbers.size else 0:.2f}",
        "weighted": f"~{mean:.2f}",
    }


def _laid_out(value: Any, indent: str = "") -> Iterator[str]:
    """Lines. What fits on one is decided by its shape alone, never by how long its numbers are."""
    if not isinstance(value, dict | list) or _leaves(value) <= _MOST_ON_A_LINE or _is_flat_list(value):
        yield _one_line(value)
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    yield opening
    items = value.items() if isinstance(value, dict) else ((None, each) for each in value)
    for key, each in items:
        head = "" if key is None else f"{json.dumps(key, ensure_ascii=False)}: "
        first, *rest = _laid_out(each, indent + " ")
        yield f" {head}{first}"
        yield from (f" {line}" for line in rest)
    yield closing


def _leaves(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_leaves, value.values()))
    return sum(map(_leaves, value)) if isinstance(value, list) else 1


def _is_flat_list(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(each, dict | list) for each in value)


def _one_line(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {_one_line(each)}" for key, each in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(_one_line, value)) + "]"
    if isinstance(value, float):
        return _float(value)
    return shown(json.dumps(value, ensure_ascii=False) + "\n")[:-1]


def _float(value: float) -> str:
    """Six digits; what is next to nothing is noise."""
    return "0.0" if abs(value) < 1e-9 else repr(float(f"{value:.6g}"))


# Tables


def _csv_text(written: str) -> str:
    """Floats with six digits, all else as it stands."""
    rows = list(csv.reader(io.StringIO(written)))
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerows(rows)
    remark = "" if target.getvalue() == written else "(not written as csv.writer does)\n"
    target = io.StringIO()
    csv.writer(target, lineterminator="\n").writerows([[_cell(cell) for cell in row] for row in rows])
    return remark + shown(target.getvalue())


def _cell(cell: str) -> str:
    if re.fullmatch(r"-?\d+(\.\d+)?e[-+]?\d+|-?\d+\.\d{4,}", cell):
        return _float(float(cell))
    return cell


# Arrays


def _arrays(content: bytes) -> str:
    lines = []
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        for name in archive.files:
            array = archive[name]
            lines.append(f"{name}: {array.dtype} {list(array.shape)} {_array(name, array)}\n")
    return "".join(lines)


def _array(name: str, array: np.ndarray) -> str:
    if array.dtype.kind in "US":
        written = json.dumps(array.tolist(), ensure_ascii=False)
        return '"…"' if name.startswith("made_by") else written
    if array.size > 24:
        figures = _figures(array)
        return _one_line({key: each for key, each in figures.items() if key != "shape"})
    return _one_line(array.tolist())


# Pages


def _page(written: str) -> str:
    """Its markup, the data it shows, and which scripts and styles it carries."""
    if frame := re.match(r'(<iframe[^>]*srcdoc=")([^"]*)(.*)', written, re.DOTALL):
        return f"{frame[1]}(below){frame[3]}{_page(html.unescape(frame[2]))}"
    data = re.search(r'(<script type="application/json" id="data">)(.*?)(</script>)', written, re.DOTALL)
    shown_data = ""
    if data:
        shown_data = "".join(f"{line}\n" for line in _laid_out(_masked(json.loads(data[2]))))
        written = written.replace(data[0], f"{data[1]}(below){data[3]}")
    written = re.sub(r"<(script|style)>(.*?)</\1>", _asset, written, flags=re.DOTALL)
    written = re.sub(r"sha256-[A-Za-z0-9+/=]+", "sha256-…", written)
    return shown(_versions(written)) + shown_data


def _versions(written: str) -> str:
    return re.sub(r"\b(attncli|transformers|torch|tokenizers)( |=|: )\d+\.\d+[\w.+]*", r"\1\2…", written)


def _asset(found: re.Match[str]) -> str:
    rest, names = _bare(found[2]), []
    for name, text in _assets():
        if text and text in rest:
            names.append(f"{name} {_hash(text)}")
            rest = rest.replace(text, "", 1)
    more = [f"{len(rest)} more characters {_hash(rest)}"] if rest else []
    return f"<{found[1]}>{', '.join(sorted(names) + more)}</{found[1]}>"


@cache
def _assets() -> tuple[tuple[str, str], ...]:
    """Names and contents of the package's scripts and styles, the longest first, as one may hold another."""
    found = ((path.name, _bare(path.read_text("utf-8"))) for path in package_files(".js", ".css"))
    return tuple(sorted(found, key=lambda each: -len(each[1])))


def _bare(code: str) -> str:
    """Without white space, and without comments that have lines of their own: a page leaves these out."""
    return "".join(re.sub(r"^\s*(?://[^\n]*|/\*.*?\*/\s*)$", "", code, flags=re.MULTILINE | re.DOTALL).split())


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


# Figures


def _drawing(written: str) -> str:
    """Its texts in their order; of each kind of element how many, and what its numbers and colours come to."""
    size = re.findall(r"<svg[^>]*>", written)[:1]
    texts = [
        " ".join(each.split())
        for each in re.findall(r"<text[^>]*>(.*?)</text>|<!-- (.*?) -->", written)
        for each in each
    ]
    kinds: dict[str, list[str]] = {}
    for name, attributes in re.findall(r"<([a-zA-Z]\w*)([^>]*)>", written):
        kinds.setdefault(name, []).append(re.sub(r'"(?:url\(|#|data:)[^"]*"|\bid="[^"]*"', "", attributes))
    # Everything but its numbers, colours, ids and fonts, which a machine may have or lack.
    bare = re.sub(r"""id="[^"]*"|"(?:url\(|#|data:)[^"]*"|'[^']*'|#[0-9a-f]{6}|-?\d+(\.\d+)?""", "", written)
    lines = [*size, *filter(None, texts), *(_kind(name, " ".join(drawn), len(drawn)) for name, drawn in kinds.items())]
    return shown("".join(f"{line}\n" for line in [*lines, f"structure {_hash(bare)}"]))


def _kind(name: str, drawn: str, count: int) -> str:
    colors = [
        [int(each[place : place + 2], 16) for place in (0, 2, 4)] for each in re.findall(r"#([0-9a-f]{6})\b", drawn)
    ]
    mean = " ".join(f"~{each:.2f}" for each in np.mean(colors, axis=0)) if colors else ""
    numbers = [float(each) for each in re.findall(r"-?\d+\.\d+", re.sub(r"#[0-9a-f]{6}\b", "", drawn))]
    # Large and positive, so that a tolerance relative to it is small.
    weighted = float(np.dot(np.abs(numbers), 2 + np.cos(np.arange(len(numbers)))))
    said = f"{name}: {count}"
    said += f", {len(numbers)} numbers of sum {sum(numbers):.2f}, weighted {weighted:.2f}" if numbers else ""
    return said + (f", {len(colors)} colours of mean {mean}" if colors else "")


# Names


def mask(text: str, folder: Path) -> str:
    """Without the temporary folder, the port of a test's hub, and versions."""
    for each in {str(folder), str(folder.resolve())}:
        # Quoted where a hint is to be typed and the folder has odd characters.
        text = re.sub(rf"'{re.escape(each)}([^']*)'", r"FOLDER\1", text).replace(each, "FOLDER")
    text = re.sub(r"http://127\.0\.0\.1:\d+", "http://HUB", text)
    text = re.sub(r"\b(transformers|tokenizers|torch) \d+\.\d+[\w.+]*", r"\1 VERSION", text)
    return re.sub(r"\battncli \d+\.\d+\.\d+\b", "attncli VERSION", text)
