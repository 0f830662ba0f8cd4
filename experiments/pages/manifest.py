"""The SHA-256 hashes of all files under records/, in the form of `sha256sum`.

`records/SHA256SUMS` is committed with the records. What writes a record calls `note`
for it, so that the list stays up to date; `python -m experiments.verify --renew`
writes it again as a whole. `cd records && sha256sum -c SHA256SUMS` checks it without
Python. Files whose name begins with a dot, which are being written, and reports, which
`resprune report` writes, are not part of it.
"""

import hashlib
import os
import pathlib
import re

NAME = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def note(path):
    """Renews the lines of a file, or of a folder, that has just been written.

    Does nothing where no folder above it has a manifest: other places need none. Lines
    that cannot be read are dropped, so that a damaged manifest never stops a run;
    `problems` finds what they listed.

    Args:
        path: of the file or folder.
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
    """Writes the manifest of a folder of records as a whole.

    Args:
        records: the folder.

    Returns:
        list of what was changed, a sentence each; empty if it was up to date.
    """
    records = pathlib.Path(records)
    changes = problems(records) if (records / NAME).is_file() else ["It is new."]
    _write(records, _hashes(records, records.rglob("*")))
    return changes


def problems(records):
    """How the files of a folder of records differ from its manifest.

    Args:
        records: the folder.

    Returns:
        list of sentences, one for each file that is damaged, missing, not listed or
        listed twice; empty if all files are as they were recorded.

    Raises:
        ValueError: if there is no manifest, or one of its lines cannot be read.
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
    """`(name, hash)` of each file; names are relative to the records."""
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
