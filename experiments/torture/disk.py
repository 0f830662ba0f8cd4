"""Runs commands on a full disk, and again with enough space."""

from experiments.torture import process
from experiments.torture.case import Case, refused, same
from experiments.torture.subject import difference

_SHARES = {"training": (0.02, 0.3, 0.6, 0.9), "prune": (0.2, 0.7), "export": (0.1, 0.5)}


def cases(subject, rng, folder):
    """Runs each command on a disk that has room for a part of its output.

    Yields:
        `Case`.
    """
    if not process.small_disks():
        yield Case(
            "disk", "all", "not run: this system does not allow mounting a disk", False
        )
        return
    makers = {
        "training": (subject.train, subject.trained),
        "prune": (subject.prune, subject.pruned),
        "export": (subject.export, subject.exported),
    }
    for name, shares in _SHARES.items():
        command, expected = makers[name]
        needed = sum(path.stat().st_size for path in expected.rglob("*")) / 1024
        for share in shares:
            place = folder / f"{name}-{share}"
            place.mkdir()
            title = f"{name}, full at {share:.0%} of what it writes"
            ended = process.on_small_disk(command(place), place, int(share * needed))
            found = refused("disk", title, ended, "There is no space left")
            yield found
            if found.right:
                ended = process.run(command(place))
                left = difference(place, expected) if not ended.code else ended.error
                yield same("disk", f"{title}, then given room", left)
