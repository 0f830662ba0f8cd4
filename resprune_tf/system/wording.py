"""Numbers in sentences. Pure Python."""


def counted(number, noun: str) -> str:
    """A number and its noun, in the plural unless there is one.

    >>> counted(1, "round"), counted(1234, "image")
    ('1 round', '1,234 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
