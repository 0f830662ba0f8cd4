"""Loads model files from untrusted sources; checks them before Keras reads them.

A small file may declare gigabytes: an HDF5 dataset of any shape takes a few bytes as
long as nothing is written to it, and zip archives are compressed. Keras reads
everything that is declared, and compares it with the model only afterwards.
"""

import io
import json
import math
import pathlib
import shutil
import struct
import tempfile
import zipfile

import keras

from resprune_tf.system.array_files import as_value_error

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_ASSETS = "assets/"
# Maximum unpacked bytes of a member. The configuration of ResNet-152 has 0.7 MB.
_LIMITS = {_CONFIG: 32 * 2**20, _METADATA: 2**20}
# Allowance in bytes for seeds, counters and metrics.
_SLACK = 2**20
# Maximum number of values that an optimizer stores per weight.
_SLOTS = 4


class ModelFileError(ValueError):
    """A file contains no model, or one that must not be loaded."""


def load_model(path, **options) -> keras.Model:
    """Checks a `.keras` file, then loads it by `keras.saving.load_model`.

    Args:
        path: path of a `.keras` file, or of an `.h5` file with a whole model.
        `**options`: options of `keras.saving.load_model`.

    Raises:
        ModelFileError: for the reasons given at `read_config`; if the weights need
            more memory than the file stores and more than the architecture needs; or if
            Keras 2 wrote the file and Keras 3 cannot load it.
        Exception: any other error of Keras.
    """
    config, metadata = read_config(path)
    try:
        if _is_hdf5(path):
            _check_hdf5(path)
        else:
            _check_weights(path, config, options)
        return keras.saving.load_model(path, **options)
    except ModelFileError:
        raise
    except Exception as error:
        version = str(metadata.get("keras_version", ""))
        if not version.startswith("2."):
            raise
        raise ModelFileError(
            f"'{path}' was written by Keras {version}, but Keras 3 cannot load it. "
            "Build the same model in Keras 3, copy the weights and save it: "
            f"`old = tf_keras.models.load_model('{path}')` (`pip install tf_keras`), "
            "`new.set_weights(old.get_weights())`, `new.save('model.keras')`."
        ) from error


def read_config(path) -> tuple[dict, dict]:
    """Reads configuration and metadata of a `.keras` file, or of a whole `.h5` model.

    Args:
        path: path of the file.

    Returns:
        `(config, metadata)`: the configuration of a model, as Keras serializes it, and
        a dict with `"keras_version"` and more, empty if the file has no metadata.

    Raises:
        ModelFileError: if the file does not exist, is damaged, or contains no model.
    """
    path = pathlib.Path(path)
    if _is_hdf5(path):
        return _hdf5_config(path)
    try:
        with as_value_error(), zipfile.ZipFile(path) as archive:
            members = _members(path, archive)
            config = json.loads(archive.read(members[_CONFIG]))
            metadata = {}
            if _METADATA in members:
                metadata = json.loads(archive.read(members[_METADATA]))
    except FileNotFoundError:
        raise ModelFileError(f"There is no file '{path}'.") from None
    except ModelFileError:
        raise
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"'{path}' is not a model file as written by model.save('model.keras'), or "
            f"it is damaged: {error or type(error).__name__}"
        ) from error
    _check_config(path, config, _CONFIG)
    return config, metadata if isinstance(metadata, dict) else {}


def _check_config(path, config, name):
    if not (
        isinstance(config, dict)
        and isinstance(config.get("class_name"), str)
        and isinstance(config.get("config"), dict)
    ):
        raise ModelFileError(
            f"'{path}' contains no model: its {name} must be an object with "
            "`class_name`, a string, and `config`, an object, as written by "
            f"model.save('model.keras'). Received: {str(config)[:60]}"
        )


def _is_hdf5(path):
    return pathlib.Path(path).suffix in (".h5", ".hdf5")


def _hdf5_config(path):
    """`read_config` for the older format, HDF5."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "model_config" not in file.attrs:
                raise ModelFileError(
                    f"'{path}' contains weights without a model. Keras assigns them by "
                    "the order of layers, which can silently go wrong for a model with "
                    "fewer layers. Load them in the code that builds the model, and "
                    "save the whole model: model.save('model.keras')."
                )
            for name in ("model_config", "keras_version"):
                if name not in file.attrs:
                    continue
                stated = file.attrs.get_id(name)
                if stated.dtype.kind not in "OS" or stated.shape:
                    raise ValueError(f"its {name} is not text")
            if file.attrs.get_id("model_config").get_storage_size() > _LIMITS[_CONFIG]:
                raise ValueError("its model_config is too large")
            config = json.loads(file.attrs["model_config"])
            version = file.attrs.get("keras_version", "")
    except FileNotFoundError:
        raise ModelFileError(f"There is no file '{path}'.") from None
    except ModelFileError:
        raise
    except (OSError, ValueError, RuntimeError, RecursionError, TypeError) as error:
        raise ModelFileError(
            f"'{path}' is not a model file as written by model.save('model.h5'), or it "
            f"is damaged: {error or type(error).__name__}"
        ) from error
    _check_config(path, config, "model_config")
    return config, {"keras_version": str(version)}


def _check_hdf5(path):
    """Raises a ModelFileError if the weights take more memory than the file stores."""
    size = sum(_dataset_bytes(path, path).values())
    stored = pathlib.Path(path).stat().st_size
    if size > stored + _SLACK:
        raise ModelFileError(
            f"'{path}' is refused: its weights would take {_mb(size)}, of which the "
            f"file stores {_mb(stored)}."
        )


def check_whole(path) -> None:
    """Raises a ModelFileError unless the checksums of a file are correct."""
    read_config(path)
    try:
        with as_value_error(), zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except ValueError as error:
        raise ModelFileError(f"'{path}' is damaged: {error}") from error
    if wrong:
        raise ModelFileError(f"'{path}' is damaged: the checksum of {wrong} is wrong.")


def _members(path, archive):
    """The members of an archive by name, after checks of their sizes."""
    members = {}
    for member in archive.infolist():
        name, size = member.filename, member.file_size
        if name in members:
            raise ModelFileError(f"'{path}' contains {name} twice.")
        members[name] = member
        if name in _LIMITS:
            _check_unpacked(path, name, size, _stored(path, member), _LIMITS[name])
    for name in (_CONFIG, _WEIGHTS):
        if name not in members:
            raise ModelFileError(
                f"'{path}' cannot be loaded: it has no {name}, which "
                f"model.save('model.keras') writes. It contains: "
                f"{', '.join(list(members)[:5]) or 'nothing'}."
            )
    assets = [each for name, each in members.items() if name.startswith(_ASSETS)]
    for name in members:
        if name not in (*_LIMITS, _WEIGHTS) and not name.startswith(_ASSETS):
            raise ModelFileError(
                f"'{path}' is refused: it contains {name}, which "
                "model.save('model.keras') does not write. Remove it from the archive, "
                "or save the model again."
            )
    stored = _stored(path, *assets)
    limit = 100 * stored + _SLACK
    # Keras unpacks them to a temporary folder.
    _check_unpacked(
        path, _ASSETS, sum(each.file_size for each in assets), stored, limit
    )
    return members


def _check_unpacked(path, name, size, stored, limit):
    if size > limit:
        raise ModelFileError(
            f"'{path}' is refused: its {name} would take {_mb(size)} when unpacked, "
            f"but the file stores {_mb(stored)}. At most {_mb(limit)} are read."
        )


def _check_weights(path, config, options):
    """Raises a ModelFileError if the weights need too much memory."""
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(_WEIGHTS)
        stored = _stored(path, member)
        # An uncompressed member needs no more memory than the file.
        if member.compress_type == zipfile.ZIP_STORED:
            with open(path, "rb") as whole:
                sizes = _dataset_bytes(path, _Part(whole, member))
        else:
            if member.file_size > stored + _SLACK:
                needed = _needed(config, options)
                _compare(path, member.file_size, (1 + _SLOTS) * needed, needed)
            with tempfile.TemporaryFile() as copy:
                try:
                    with as_value_error(), archive.open(member) as file:
                        shutil.copyfileobj(file, copy)
                except ValueError as error:
                    raise ModelFileError(f"'{path}' is damaged: {error}") from error
                sizes = _dataset_bytes(path, copy)
    if not options.get("compile", True):
        sizes.pop("optimizer", None)
    whole = sum(sizes.values())
    if whole > stored + _SLACK:
        needed = _needed(config, options)
        slots = sizes.pop("optimizer", 0)
        _compare(path, slots, _SLOTS * needed, needed)
        _compare(path, whole - slots, needed, needed)


def _stored(path, *members):
    """Bytes that members take in their archive, at most the size of the archive."""
    stated = sum(member.compress_size for member in members)
    return min(stated, pathlib.Path(path).stat().st_size)


def _compare(path, size, limit, needed, what="weights"):
    if size > limit + _SLACK:
        raise ModelFileError(
            f"'{path}' is refused: its {what} would take {_mb(size)}; its "
            f"architecture needs {_mb(needed)}."
        )


def check_layer(path, group, layer) -> None:
    """Raises a ModelFileError if a layer's weights need too much memory.

    Args:
        path: path of a `.weights.h5` file, for messages.
        group: `h5py.Group` of the layer.
        layer: a built `keras.layers.Layer`.
    """
    needed = sum(8 * math.prod(variable.shape) for variable in layer.variables)
    size = sum(group_bytes(path, group).values())
    _compare(path, size, needed, needed, f"weights of '{layer.name}'")


def _needed(config, options):
    """Bytes of all variables of the model in a configuration."""
    model = keras.saving.deserialize_keras_object(
        {**config, "compile_config": None},
        custom_objects=options.get("custom_objects"),
        safe_mode=options.get("safe_mode", True),
    )
    # Eight bytes per value, whatever its dtype.
    return sum(8 * math.prod(variable.shape) for variable in model.variables)


def _dataset_bytes(path, file):
    """Memory of the datasets in an HDF5 file, by topmost group, in bytes."""
    import h5py

    try:
        with h5py.File(file, "r") as weights:
            return group_bytes(path, weights)
    except ModelFileError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise ModelFileError(
            f"'{path}' is damaged: its {_WEIGHTS} cannot be read: {error}"
        ) from error


def group_bytes(path, group) -> dict[str, int]:
    """Memory of the datasets in a group of an HDF5 file, in bytes.

    Args:
        path: path of the file, for messages.
        group: an open `h5py.Group`.

    Returns:
        dict from the name of each group or dataset in it to bytes.

    Raises:
        ModelFileError: if a dataset is in another file, if a group occurs twice, or if
            a dataset contains values without a fixed size, such as strings.
    """
    import h5py

    found, groups = {}, {h5py.h5o.get_info(group.id).addr}

    def walk(group, top):
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ModelFileError(
                    f"'{path}' is refused: '{name}' among its weights is a link to "
                    "another place."
                )
            item, place = group[name], top or name
            if isinstance(item, h5py.Group):
                # Groups that contain each other would cause an endless loop.
                address = h5py.h5o.get_info(item.id).addr
                if address in groups:
                    raise ModelFileError(
                        f"'{path}' is refused: it contains '{name}' twice."
                    )
                groups.add(address)
                walk(item, place)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise ModelFileError(
                        f"'{path}' is refused: the values of '{name}' are in "
                        "another file."
                    )
                # Many values can be the same stored one, which is read for each.
                if item.dtype.hasobject:
                    raise ModelFileError(
                        f"'{path}' is refused: '{name}' among its weights contains "
                        "values without a fixed size, such as strings, but weights are "
                        "numbers."
                    )
                found[place] = found.get(place, 0) + item.nbytes

    walk(group, "")
    return found


class _Part(io.RawIOBase):
    """An uncompressed member of an open archive, with random access.

    `zipfile.ZipExtFile` reads from the beginning again to seek backwards.
    """

    def __init__(self, file, member):
        super().__init__()
        file.seek(member.header_offset)
        header = file.read(30)  # ends with the lengths of name and extra field
        self._begin = member.header_offset + 30 + sum(struct.unpack("<HH", header[26:]))
        self._file, self._size, self._place = file, member.file_size, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self._place

    def seek(self, offset, whence=io.SEEK_SET):
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}
        self._place = begin[whence] + offset
        return self._place

    def readinto(self, buffer):
        left = max(0, min(len(buffer), self._size - self._place))
        self._file.seek(self._begin + self._place)
        count = self._file.readinto(memoryview(buffer)[:left])
        self._place += count
        return count


def _mb(size):
    return f"{size / 1e6:,.1f} MB"
