"""`resprune report`: the records of a pruning run as an HTML page."""

from resprune_cli.options import result_files, usage, values
from resprune_cli.options.usage import WrongUse


def add_parser(commands):
    """Adds the command to the command line."""
    parser = usage.add_command(
        commands,
        "report",
        run,
        check,
        usage="RUN_DIR",
        help="results of a pruning run as an HTML page",
        description="""
            Writes RUN_DIR/report.html, a single file that needs no other. It contains
            the result in one sentence, accuracy against MACs and measured latency, the
            files, the rounds, and the units with their scores. `resprune prune` writes
            it at the end. This command writes it again, also for an unfinished run.
            """,
        examples=[
            ("the report of an unfinished run", "resprune report small"),
            ("show the traceback of an error", "resprune report small --debug"),
        ],
    )
    parser.add_argument(
        "run_dir",
        type=values.folder,
        metavar="RUN_DIR",
        help="folder of a run: --out of `resprune prune`, or `RunOptions.directory` in "
        "Python.",
    )
    usage.add_debug(parser)
    parser.set_defaults(imports=())


def check(args):
    """Raises WrongUse if there is no folder, or no run in it."""
    folder = args.run_dir
    if not folder.is_dir():
        raise WrongUse(f"There is no folder '{folder}'.")
    known = (result_files.RUN, result_files.ROUNDS, result_files.SUMMARY)
    if not any((folder / name).exists() for name in known):
        raise WrongUse(
            f"'{folder}' contains no records of a run: none of {', '.join(known)}. "
            "Pass the folder of a run, such as --out of `resprune prune`."
        )


def run(args):
    """Writes the page and prints the table of rounds; returns the exit code."""
    from resprune_tf import write_report
    from resprune_tf.report.run_records import RunRecords
    from resprune_tf.report.summary import format_run
    from resprune_tf.system.progress import say

    say("Writing the report ...")
    try:
        page = write_report(args.run_dir)
        records = RunRecords.read(args.run_dir)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    print(f"{format_run(records)}\nReport: {page}")
    return 0
