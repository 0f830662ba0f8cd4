"""The package's metadata says what was tested."""

import configparser
import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent


def test_oldest_pins_are_the_lower_bounds():
    """`make test-oldest` tests exactly what setup.cfg promises."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    text = "\n".join(
        [
            config["options"]["install_requires"],
            *config["options.extras_require"].values(),
        ]
    )
    bounds = dict(re.findall(r"^([\w-]+)>=([\d.]+)$", text, re.MULTILINE))
    pins = dict(
        re.findall(
            r"^([\w-]+)==([\d.]+)$",
            (ROOT / "tests" / "oldest.txt").read_text(),
            re.MULTILINE,
        )
    )
    tools = {"ruff", "build"}  # no test runs them

    def numbers(version):
        return [int(part) for part in version.split(".") if part != "0"]

    assert set(pins) == set(bounds) - tools
    for name, version in pins.items():
        assert numbers(version) == numbers(bounds[name]), name


def test_public_names_exist_and_are_sorted():
    import resprune_tf

    assert resprune_tf.__all__ == sorted(resprune_tf.__all__)
    for name in resprune_tf.__all__:
        assert getattr(resprune_tf, name).__doc__, name
