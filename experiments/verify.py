"""Verifies the committed records: all files, and the accuracy of all models.

    python -m experiments.verify [NAME ...] [--data_dir=DATA] [--records=DIR]
    python -m experiments.verify --renew

Compares every file under records/ with its SHA-256 hash in records/SHA256SUMS. Loads
every model of a record and compares its size with the record, and its accuracy on the
real test set. The digits are part of scikit-learn; a record on other data is skipped
where the data are missing. The number of correct images may differ by 1 in 2,000,
because processors add floating-point numbers in different orders; for the 360 digits
that allows no difference. Exit status: 0 if everything agrees, 1 otherwise.

With names of records, such as `cifar10/c10-k2-seed0`, only their models are measured.

`--renew` writes records/SHA256SUMS again, after records were added or replaced.
"""

import argparse
import dataclasses
import pathlib
import re
import sys

from absl import flags

from experiments import cifar, imagenet
from experiments.pages import manifest
from experiments.pages.library import RunRecords, counted, first_line
from experiments.pages.results import RECORDS
from experiments.running import quiet
from experiments.running.recorded_data import recorded_flags

# The number of correct images may differ by one per this many images.
PER_DIFFERENCE = 2000


@dataclasses.dataclass
class Check:
    """The check of one model of a record.

    Attributes:
        record: name of the record.
        round: number of the round, as text.
        result: `"same"`, `"same to rounding"`, `"skipped: ..."` or `"WRONG: ..."`.
        images: number of test images.
        recorded: number of correctly classified test images in the record.
        measured: the same number, measured now.
    """

    record: str
    round: str
    result: str = ""
    images: int | None = None
    recorded: int | None = None
    measured: int | None = None

    @property
    def wrong(self):
        """Whether the model differs from its record."""
        return self.result.startswith("WRONG")

    @property
    def cells(self):
        """The line of the table."""
        shown = [
            "-" if correct is None else f"{100 * correct / self.images:.2f} %"
            for correct in (self.recorded, self.measured)
        ]
        images = "-" if self.images is None else f"{self.images:,}"
        return [self.record, self.round, images, *shown, self.result]


class SkippedError(Exception):
    """A model cannot be measured here; the message states why."""


class _TestSets:
    """The test sets of records, each read once.

    Args:
        data_dir: folder of the data sets, or None.
    """

    def __init__(self, data_dir):
        self._data_dir, self._known = data_dir, {}

    def of(self, folder, run):
        """The test `Split` of a record.

        Args:
            folder: of the record.
            run: its `RunRecords`.

        Raises:
            SkippedError: if the data or this subset of them are missing.
        """
        from resprune_tf.data.readers import DataError

        # A subset depends on many flags of the run, so it is known by its record.
        name = run.settings["dataset"]["name"]
        subset = run.smoke or re.search("^--test_examples=", run.flags, re.MULTILINE)
        key = folder if subset else name
        if key not in self._known:
            print(f"{name}: reading the test images ...", flush=True)
            try:
                self._known[key] = self._read(folder, name, bool(subset))
            except DataError as error:
                text = f"no {name} here; --data_dir states where it is"
                if self._data_dir is not None:
                    reason = str(error).splitlines()[0].removesuffix(" Tried:")
                    text = f"{reason} --data_dir is {self._data_dir}."
                self._known[key] = SkippedError(text)
        found = self._known[key]
        if isinstance(found, SkippedError):
            raise found
        test, fingerprint = found
        if subset and fingerprint != run.settings["dataset"].get("fingerprint"):
            raise SkippedError(
                f"the run used a subset of {name}, which another source orders "
                "differently"
            )
        return test

    def _read(self, folder, name, subset):
        experiment = imagenet if name.startswith("imagenet") else cifar
        with recorded_flags(folder, self._data_dir, experiment):
            if not subset:
                flags.FLAGS["data_source"].value = "auto"  # all have the same images
            dataset = experiment.load_dataset()
        return dataset.test, dataset.fingerprint


def check_models(records, data_dir=None, names=()):
    """Checks all models in the records of finished and unfinished runs.

    Args:
        records: folder of the records.
        data_dir: folder of the data sets, or None.
        names: names of the records to check; all if empty.

    Returns:
        list of `Check`, in the order of the records.
    """
    paths = [
        path
        for path in sorted(records.glob("*/*/models/*"))
        if not names or path.parents[1].relative_to(records).as_posix() in names
    ]
    tests, checks = _TestSets(data_dir), []
    for count, path in enumerate(paths, start=1):
        folder = path.parents[1]
        name = folder.relative_to(records).as_posix()
        check = Check(name, path.stem.removeprefix("round-"))
        print(f"{count} of {len(paths)}: {name}, {path.name} ...", flush=True)
        try:
            _check(check, path, records, tests)
        except SkippedError as error:
            check.result = f"skipped: {error}"
        except Exception as error:  # a damaged file can raise anything
            check.result = f"WRONG: {first_line(error)}"
        checks.append(check)
    return checks


def _check(check, path, records, tests):
    import resprune_tf as rp

    folder = path.parents[1]
    run = RunRecords.read(folder)
    lines = {line.get("model"): line for line in run.rounds}
    line = lines.get(f"models/{path.name}")
    if line is None:
        raise ValueError(f"the record has no round with the model {path.name}")
    model = rp.load_record_model(check.record, line["round"], records=records)
    if (macs := rp.cost(model).macs) != line["macs"]:
        raise ValueError(f"{macs:,} MACs, recorded: {line['macs']:,}")
    accuracy = line.get("test_accuracy")
    if accuracy is None:
        raise SkippedError("the record states no test accuracy")
    test = tests.of(folder, run)
    check.images = len(test)
    if check.images != (stated := run.examples("test")):
        raise ValueError(f"measured on {stated} test images; there are {check.images}")
    check.recorded = round(accuracy * check.images)
    check.measured = _correct(model, test)
    difference = abs(check.measured - check.recorded)
    check.result = "same" if difference == 0 else "same to rounding"
    if difference > check.images // PER_DIFFERENCE:
        check.result = f"WRONG: {difference} more or fewer images are correct"


def _correct(model, test):
    """Number of test images that a model classifies correctly; shows progress."""
    from resprune_tf.system.progress import Reporter, shown
    from resprune_tf.training.trainer import evaluate

    with shown(Reporter(sys.stdout)):
        return round(evaluate(model, test)[1] * len(test))


def table(checks):
    """The checks as lines of text in columns."""
    names = ["record", "round", "test images", "recorded", "measured", "result"]
    rows = [names, *(check.cells for check in checks)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place in (0, 5) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _check_files(records):
    """Prints which files differ from the manifest and returns their number."""
    print(f"Comparing the files of {records} with {manifest.NAME} ...", flush=True)
    try:
        found = manifest.problems(records)
    except ValueError as error:
        sys.exit(f"error: {error}")
    for problem in found:
        print(f"WRONG: {problem}")
    if found:
        print(
            "If you changed these records, `python -m experiments.verify --renew` "
            "lists them; otherwise `git checkout records` restores the files."
        )
    return len(found)


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m experiments.verify",
        description="Verifies the files of the committed records, and the accuracy of "
        "their models.",
    )
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="records whose models are measured, such as cifar10/c10-k2-seed0 "
        "(default: all)",
    )
    parser.add_argument(
        "--records",
        type=pathlib.Path,
        default=RECORDS,
        help="folder of the records (default: %(default)s)",
    )
    parser.add_argument(
        "--data_dir",
        help="folder of the data sets other than digits: of tensorflow_datasets or of "
        "the original files (default: TFDS_DATA_DIR or ~/tensorflow_datasets)",
    )
    parser.add_argument(
        "--renew",
        action="store_true",
        help=f"write {manifest.NAME} again, state what changed, and verify nothing",
    )
    return parser


def main(argv=None):
    """Command line; returns the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    records = arguments.records
    for folder in filter(None, (records, arguments.data_dir)):
        if not pathlib.Path(folder).is_dir():
            parser.error(f"there is no folder '{folder}'")
    for name in arguments.names:
        if not (records / name / "models").is_dir():
            parser.error(f"there is no record '{name}' with models in '{records}'")
    if arguments.renew:
        changes = manifest.renew(records)
        print("\n".join([*changes, f"{records / manifest.NAME}: written"]))
        return 0
    wrong = _check_files(records)
    print("Starting Keras ...", flush=True)
    with quiet.quiet_start():
        import resprune_tf  # noqa: F401
    checks = check_models(records, arguments.data_dir, arguments.names)
    failed = sum(check.wrong for check in checks)
    skipped = sum(check.result.startswith("skipped") for check in checks)
    print(f"\n{table(checks)}\n" if checks else "There are no models.")
    print(
        f"{'FAILED' if wrong or failed else 'Verified'}: {counted(wrong, 'file')} "
        f"differ{'s' * (wrong == 1)}; of {counted(len(checks), 'model')} "
        f"{len(checks) - failed - skipped} agree with their "
        f"records, {failed} do not, {skipped} were skipped."
    )
    return 1 if wrong or failed else 0


if __name__ == "__main__":
    sys.exit(main())
