"""`resprune report`: the records of a run as one web page."""

from resprune_cli.options import usage, values
from resprune_cli.options.usage import WrongUse


def add_parser(commands):
    """Adds the command to the command line."""
    parser = usage.add_command(
        commands,
        "report",
        run,
        check,
        usage="RUN_DIR",
        help="what a pruning run achieved, as one HTML page",
        description="""
            Writes RUN_DIR/report.html, one file that needs no other: the result in one
            sentence, accuracy against MACs and measured latency, the files, the rounds,
            and the units with their scores. `resprune prune` writes it at its end; this
            command writes it again, also for a run that is not finished.
            """,
        examples=[
            ("of a run that is still going", "resprune report short"),
            ("with the traceback of an error", "resprune report short --debug"),
        ],
    )
    parser.add_argument(
        "run_dir",
        type=values.folder,
        metavar="RUN_DIR",
        help="folder of a run: --out of `resprune prune`, or `RunOptions.directory`.",
    )
    parser.add_argument(
        "--debug",
        action="store_true",
        help="on an error, show the whole Python traceback.",
    )
    parser.set_defaults(imports=())


def check(args):
    """Raises WrongUse if there is no such folder."""
    if not args.run_dir.is_dir():
        raise WrongUse(f"There is no folder '{args.run_dir}'.")


def run(args):
    """Writes the page and prints the table of the rounds; returns the exit code."""
    from resprune_tf import write_report
    from resprune_tf.report.run_records import RunRecords
    from resprune_tf.report.summary import format_run

    try:
        page = write_report(args.run_dir)
        records = RunRecords.read(args.run_dir)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    print(f"{format_run(records)}\nReport: {page}")
    return 0
