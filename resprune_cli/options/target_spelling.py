"""Syntax of `--target`. This module does not import the library."""

import re

from resprune_cli.options.usage import WrongUse

_NUMBERS = {"k": 1e3, "M": 1e6, "G": 1e9}
_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
# For each name of a target: units of an absolute limit, and examples.
_SPELLINGS = {
    "layers": ({}, "layers=32"),
    "units": ({}, "units=10"),
    "macs": (_NUMBERS, "macs=0.6, macs=60% or macs=50M"),
    "flops": (_NUMBERS, "flops=0.6, flops=60% or flops=100M"),
    "parameters": (_NUMBERS, "parameters=0.6, parameters=60% or parameters=300k"),
    "size": (_BYTES, "size=0.6, size=60% or size=2MB"),
    "latency": ({"ms": 1.0}, "latency=0.7, latency=70% or latency=5ms"),
}
# For each name of a target: arguments of `Target` for a fraction and for a number.
_FIELDS = {
    "flops": ("macs", "macs"),
    "size": ("file_ratio", "file_bytes"),
    "latency": ("latency_ratio", "latency_ms"),
}
_FLOPS = 2  # per multiply-accumulate


def limits(texts):
    """Converts the values of `--target` to arguments of `Target`.

    Args:
        texts: list of `NAME=VALUE`.

    Returns:
        dict from an argument of `Target` to a number.

    Raises:
        WrongUse: if a target has wrong syntax, or if two targets limit the same
            measure.

    >>> limits(["macs=60%", "latency=5ms"])
    {'macs': 0.6, 'latency_ms': 5.0}
    """
    found, named = {}, set()
    for text in texts:
        name, _, value = text.partition("=")
        if name not in _SPELLINGS:
            raise WrongUse(
                f"--target '{text}' names an unknown measure. Known targets: "
                f"{'; '.join(example for _, example in _SPELLINGS.values())}."
            )
        if name in named:
            raise WrongUse(f"--target {name} is given twice. Give it once.")
        named.add(name)
        if {"macs", "flops"} <= named:
            raise WrongUse(
                "--target macs and --target flops limit the same measure: one "
                f"multiply-accumulate is {_FLOPS} FLOPs. Give one of them."
            )
        field, limit = _limit(name, value, text)
        if name == "flops" and limit >= 1:
            limit /= _FLOPS
        found[field] = limit
    return found


def _limit(name, value, text):
    units, example = _SPELLINGS[name]
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+) ?(%|[A-Za-z]*)", value)
    wrong = WrongUse(f"--target '{text}' has wrong syntax. Write {example}.")
    if match is None or float(match[1]) == 0:
        raise wrong
    number, unit = float(match[1]), match[2]
    if name in ("layers", "units"):
        if unit or number != int(number):
            raise wrong
        return name, int(number)
    relative, absolute = _FIELDS.get(name, (name, name))
    if unit == "%" or (not unit and number < 1):
        number = number / 100 if unit else number
        if number >= 1:
            raise WrongUse(
                f"--target '{text}': a fraction of the model must be below 100%."
            )
        return relative, number
    if unit in units:
        return absolute, number * units[unit]
    # A number without unit is a count; bytes and milliseconds need their unit.
    if not unit and units is _NUMBERS:
        if number <= 100:
            raise WrongUse(
                f"--target '{text}' means {match[1]} {name} in total. For a fraction "
                f"of the model's {name}, write {name}=0.6 or {name}=60%."
            )
        return absolute, number
    raise wrong
