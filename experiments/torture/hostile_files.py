"""Makes hostile files. Each maker returns a command that reads its file.

The arguments of a maker are the `Subject`, an empty folder, and an outside folder that
the command must not change.
"""

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
import zlib

import numpy as np

_GIGABYTES = 3
_IMAGES = "{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 8, 8, 1)}"
# Files whose command may also succeed, if it does no harm.
HARMLESS = (
    "image folder: a link to a folder outside",
    ".keras: a member outside the folder",
)
FILES = {}


def _file(title, change=None):
    """Decorator that registers a maker under its title.

    Args:
        title: kind of file and attack, as on the page.
        change: function `(subject, place, attack)` that changes a good file by
            `attack(*content)` and returns the command. The decorated function is then
            not a maker, but `attack` with `outside` as additional last argument.
    """

    def register(function):
        def maker(subject, place, outside):
            return change(subject, place, lambda *content: function(*content, outside))

        FILES[title] = maker if change else function
        return function

    return register


class _MakesFolder:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def _keras(subject, place, attack):
    """`resprune prune` after `attack(members)` on the contents of the model file."""
    with zipfile.ZipFile(subject.folder / "net.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    attack(members)
    path = place / "net.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return subject.prune(place / "out", model=path)


def _config(subject, place, attack):
    """`resprune prune` after `attack(layers)` on the architecture of the model."""

    def change(members):
        config = json.loads(members["config.json"])
        attack(config["config"]["layers"])
        members["config.json"] = json.dumps(config).encode()

    return _keras(subject, place, change)


def _h5(subject, place, attack):
    """`resprune prune` after `attack(file, name)` on a weight of a convolution."""
    import h5py

    def change(members):
        content = io.BytesIO(members["model.weights.h5"])
        with h5py.File(content, "a") as file:
            name = file.visititems(
                lambda name, item: (
                    name if isinstance(item, h5py.Dataset) and "conv" in name else None
                )
            )
            attack(file, name)
        members["model.weights.h5"] = content.getvalue()

    return _keras(subject, place, change)


@_file(".keras: weights that declare 3 GB", _h5)
def _(file, name, outside):
    del file[name]
    shape, chunks = (_GIGABYTES * 2**28,), (2**20,)
    file.create_dataset(name, shape, "float32", chunks=chunks, compression="gzip")


@_file(".keras: weights in a file outside", _h5)
def _(file, name, outside):
    (outside / "secret.bin").write_bytes(bytes(range(256)) * 64)
    shape = file[name].shape
    del file[name]
    external = [(str(outside / "secret.bin"), 0, 16384)]
    file.create_dataset(name, shape, "float32", external=external)


@_file(".keras: a link to another HDF5 file", _h5)
def _(file, name, outside):
    import h5py

    with h5py.File(outside / "other.h5", "w") as other:
        other["w"] = np.zeros(3)
    del file[name]
    file[name] = h5py.ExternalLink(str(outside / "other.h5"), "/w")


@_file(".keras: an architecture that inflates to 0.7 GB", _keras)
def _(members, outside):
    members["config.json"] = b" " * (700 << 20) + members["config.json"]


@_file(".keras: metadata that inflate to 0.7 GB", _keras)
def _(members, outside):
    members["metadata.json"] = b" " * (700 << 20) + members["metadata.json"]


@_file(".keras: an architecture nested 100,000 deep", _keras)
def _(members, outside):
    members["config.json"] = b"[" * 100_000 + b"]" * 100_000


@_file(".keras: a layer of 10**14 weights", _config)
def _(layers, outside):
    layers[-1]["config"]["units"] = 10**13


@_file(".keras: a Lambda layer with code", _config)
def _(layers, outside):
    layers[1]["class_name"], layers[1]["module"] = "Lambda", "keras.layers"
    code = {"class_name": "__lambda__", "config": {"code": "4wEAAAAA"}}
    layers[1]["config"] = {"name": "rescaling", "function": code}


@_file(".keras: a class of a module of Python", _config)
def _(layers, outside):
    layers[1]["module"], layers[1]["class_name"] = "os", "system"
    layers[1]["registered_name"] = "system"
    layers[1]["config"] = {"command": f"touch {outside}/written"}


@_file(".keras: a function of a module of Python", _config)
def _(layers, outside):
    layers[2]["config"]["activation"] = {
        "module": "builtins",
        "class_name": "function",
        "config": "exec",
        "registered_name": "function",
    }


@_file(".keras: a member outside the folder", _keras)
def _(members, outside):
    members["../outside/written"] = b"written"
    members[f"{outside}/written-too"] = b"written"


@_file(".keras: text")
def _(subject, place, outside):
    (place / "net.keras").write_text("not a model\n" * 1000)
    return subject.prune(place / "out", model=place / "net.keras")


def _npz(subject, place, members):
    path = place / "data.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return subject.prune(place / "out", data=path)


def _npy(header, content=b""):
    """Bytes of an .npy file."""
    header = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@_file(".npz: an array of 100 GB declared, nothing there")
def _(subject, place, outside):
    labels = "{'descr': '<i8', 'fortran_order': False, 'shape': (%d,)}"
    count = 100 * 2**30 // 64
    images, labels = _npy(_IMAGES % count), _npy(labels % count)
    return _npz(subject, place, {"x.npy": images, "y.npy": labels})


@_file(".npz: 3 GB of zeros in 3 MB")
def _(subject, place, outside):
    count = _GIGABYTES * 2**30 // 64
    path = place / "data.npz"
    labels = io.BytesIO()
    np.save(labels, np.zeros(10, "int64"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as file:
            file.write(_npy(_IMAGES % count))
            for _ in range(_GIGABYTES * 16):
                file.write(bytes(64 << 20))
        archive.writestr("y.npy", labels.getvalue())
    return subject.prune(place / "out", data=path)


@_file(".npz: pickled objects that run code")
def _(subject, place, outside):
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
    content = _npy(header, pickle.dumps([_MakesFolder(outside / "written")]))
    return _npz(subject, place, {"x.npy": content, "y.npy": content})


@_file(".npz: a header that is an expression")
def _(subject, place, outside):
    header = f"__import__('os').mkdir('{outside}/written')"
    return _npz(subject, place, {"x.npy": _npy(header), "y.npy": _npy(header)})


@_file("image folder: an image of 60,000 x 60,000 pixels in 10 MB")
def _(subject, place, outside):
    size = 60_000
    squeeze = zlib.compressobj(9)
    rows = b"".join(squeeze.compress(bytes(size + 1)) for _ in range(size))
    rows += squeeze.flush()

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0))
    image = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    for label in ("a", "b"):
        for number in range(5):
            (place / "data" / label).mkdir(parents=True, exist_ok=True)
            (place / "data" / label / f"{number}.png").write_bytes(image)
    return subject.prune(place / "out", data=place / "data")


@_file("image folder: a link to a folder outside")
def _(subject, place, outside):
    (place / "data").mkdir()
    os.symlink(outside, place / "data" / "a")
    return subject.prune(place / "out", data=place / "data")


def _state(subject, place, attack):
    """An experiment that continues from a state file after `attack(archive)`."""
    path = place / "state.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("run.json", "rounds.jsonl", "history.jsonl"):
            archive.add(subject.trained / name, name)
        attack(archive)
    return subject.train(place / "run", state_file=path)


def _member(archive, name, content=b"written", **facts):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for fact, value in facts.items():
        setattr(member, fact, value)
    archive.addfile(member, io.BytesIO(content))


@_file("state file: a chain of links that leads outside", _state)
def _(archive, outside):
    # `realpath` does not resolve a path that is too long.
    steps, path = "abcdefghijklmnop", ""
    for step in steps:
        long = step * 247
        _member(archive, os.path.join(path, long), b"", type=tarfile.DIRTYPE)
        link = {"type": tarfile.SYMTYPE, "linkname": long}
        _member(archive, os.path.join(path, step), b"", **link)
        path = os.path.join(path, long)
    way = os.path.join("/".join(steps), "l" * 254)
    up = "../" * len(steps)
    _member(archive, way, b"", type=tarfile.SYMTYPE, linkname=up)
    there = f"{way}/../../../outside"
    _member(archive, "models", b"", type=tarfile.SYMTYPE, linkname=there)
    _member(archive, "models/written")


@_file("state file: absolute and upward paths", _state)
def _(archive, outside):
    _member(archive, str(outside / "written"))
    _member(archive, "../outside/written")


@_file("state file: a link in place of a model", _state)
def _(archive, outside):
    link = {"type": tarfile.SYMTYPE, "linkname": str(outside / "kept.txt")}
    _member(archive, "models/round-00.keras", b"", **link)


@_file("state file: a pipe and a device", _state)
def _(archive, outside):
    _member(archive, "state.npz", b"", type=tarfile.FIFOTYPE)
    _member(archive, "flags.txt", b"", type=tarfile.CHRTYPE)


@_file("state file: 3 GB of zeros, compressed")
def _(subject, place, outside):
    class Zeros(io.RawIOBase):
        def read(self, size=-1):
            return bytes(size)

    path = place / "state.tar"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(subject.trained / "run.json", "run.json")
        member = tarfile.TarInfo("state.npz")
        member.size = _GIGABYTES << 30
        archive.addfile(member, Zeros())
    return subject.train(place / "run", state_file=path)


@_file("state file: a member that declares a terabyte", _state)
def _(archive, outside):
    member = tarfile.TarInfo("state.npz")
    member.size = 1 << 40
    archive.fileobj.write(member.tobuf())
    archive.fileobj.write(bytes(4096))


def _run(subject, place, attack):
    """An experiment that continues a run directory after `attack(folder)`."""
    folder = place / "run"
    shutil.copytree(subject.interrupted, folder)
    attack(folder)
    return subject.train(folder)


def _model_path(folder, path):
    lines = (folder / "rounds.jsonl").read_text().splitlines()
    first = {**json.loads(lines[0]), "model": str(path)}
    (folder / "rounds.jsonl").write_text(json.dumps(first) + "\n")


@_file("run directory: a model's path that leads outside", _run)
def _(folder, outside):
    shutil.copy(folder / "models" / "round-00.keras", outside / "m.keras")
    _model_path(folder, "../outside/m.keras")


@_file("run directory: another run's path that leads outside, taken over")
def _(subject, place, outside):
    source = place / "source"
    shutil.copytree(subject.trained, source)
    shutil.copy(source / "models" / "round-00.keras", outside / "m.keras")
    _model_path(source, outside / "m.keras")
    return subject.train(place / "run", start_from=source, criterion="largest")


def _replace_arrays(folder, bad):
    """Replaces the arrays `*_0` of a training state by `bad`, bytes of an .npy file."""
    with np.load(folder / "state.npz") as arrays:
        arrays = dict(arrays)
    with zipfile.ZipFile(folder / "state.npz", "w") as archive:
        for name, value in arrays.items():
            content = io.BytesIO()
            np.save(content, value)
            good = content.getvalue()
            archive.writestr(f"{name}.npy", bad if name.endswith("_0") else good)


@_file("run directory: a state of pickled objects", _run)
def _(folder, outside):
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
    bad = _npy(header, pickle.dumps([_MakesFolder(outside / "written")]))
    _replace_arrays(folder, bad)


@_file("run directory: a state that declares 100 GB", _run)
def _(folder, outside):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (26843545600,)}"
    _replace_arrays(folder, _npy(header))


@_file("run directory: numbers that are no numbers", _run)
def _(folder, outside):
    line = json.loads((folder / "rounds.jsonl").read_text().splitlines()[0])
    line |= {"round": 10**9, "removed": 5, "scores": "none", "macs": None}
    (folder / "rounds.jsonl").write_text(json.dumps(line) + "\n")
