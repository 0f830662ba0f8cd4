"""Writes records, and the SHA-256 hashes of all files under records/ (`sha256sum`).

`records/SHA256SUMS` is committed with the records. Code that writes a record calls
`note`, which updates the list; `python -m experiments.verify --renew` writes the whole
list again. `cd records && sha256sum -c SHA256SUMS` checks it without Python. Files
whose name begins with a dot are being written and are not listed, nor are reports,
which `resprune report` writes.
"""

import hashlib
import json
import os
import pathlib
import re

NAME = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def read_record(path):
    """The content of a JSON record; an empty dict if there is no file."""
    path = pathlib.Path(path)
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def write_record(path, content):
    """Writes a JSON record, makes its folder if necessary, and notes the file."""
    from resprune_tf.system.whole_files import write_json

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
    note(path)


def note(path):
    """Updates the lines of a file or folder that was just written.

    Does nothing if no folder above it has a manifest. Lines that cannot be read are
    dropped, so that a damaged manifest never stops a run; `problems` reports their
    files.

    Args:
        path: path of the file or folder.
    """
    path = pathlib.Path(path).absolute()
    records = next((f for f in path.parents if (f / NAME).is_file()), None)
    if records is None:
        return
    own = path.relative_to(records).as_posix()
    lines = [
        (name, digest)
        for name, digest in _read(records, strict=False)
        if name != own and not name.startswith(f"{own}/")
    ]
    files = path.rglob("*") if path.is_dir() else [path]
    _write(records, [*lines, *_hashes(records, files)])


def renew(records):
    """Writes the whole manifest of a folder of records.

    Args:
        records: the folder.

    Returns:
        list of changes, a sentence each; empty if the manifest was up to date.
    """
    records = pathlib.Path(records)
    changes = problems(records) if (records / NAME).is_file() else [f"{NAME}: new."]
    _write(records, _hashes(records, records.rglob("*")))
    return changes


def problems(records):
    """The differences between the files of a folder of records and its manifest.

    Args:
        records: the folder.

    Returns:
        list of sentences, one for each file that is damaged, missing, not listed or
        listed twice; empty if all files agree.

    Raises:
        ValueError: if the manifest or one of its lines cannot be read.
    """
    records = pathlib.Path(records)
    listed, found = {}, []
    for name, digest in _read(records):
        if name in listed:
            found.append(f"{name}: listed twice.")
        listed[name] = digest
    present = dict(_hashes(records, records.rglob("*")))
    for name in sorted({*listed, *present}):
        if name not in present:
            found.append(f"{name}: missing.")
        elif name not in listed:
            found.append(f"{name}: not listed.")
        elif listed[name] != present[name]:
            found.append(f"{name}: differs from the file that was recorded.")
    return found


def _hashes(records, paths):
    """Yields `(name, hash)` of each file that is listed; names are relative."""
    for path in sorted(paths):
        name = path.relative_to(records)
        hidden = any(part.startswith(".") for part in name.parts)
        made = name.name in (NAME, "report.html")
        if path.is_file() and not hidden and not made:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            yield name.as_posix(), digest


def _read(records, strict=True):
    path = records / NAME
    if not path.is_file():
        raise ValueError(
            f"'{records}' has no {NAME}. `python -m experiments.verify --renew` "
            "writes it."
        )
    lines = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None and strict:
            raise ValueError(
                f"'{path}', line {number}, is not a hash and a name: {line[:60]!r}. "
                "Restore the file, or write it again with `python -m "
                "experiments.verify --renew`."
            )
        if match is not None:
            lines.append((match[2], match[1]))
    return lines


def _write(records, hashes):
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes))
    temporary = records / f".{NAME}-{os.getpid()}"
    temporary.write_text(text, encoding="utf-8", newline="\n")
    temporary.replace(records / NAME)
