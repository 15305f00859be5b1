"""Prepares logs with Apache Beam: `python -m tfrec_attn.data.pipeline --input LOG... --to DIR`.

The folder is the same, byte for byte, as the folder that `tfrec_attn.data.prepare` writes. Each
worker reads a file. The workers filter the events, number the ids and write the shards. The
pipelines exchange files in `--work`, which the workers and this process must share. This process
fetches the shards and counts the figures of the manifest, so it needs disk for the folder, but not
memory. Unlike the local command, it does not resume an interrupted run.

Workers on other machines need an image with this package and its extra `beam`. docs/data.md has a
command each for Dataflow, Flink and Spark.
"""

import sys

from tfrec_attn.cli.arguments import Arguments, path
from tfrec_attn.cli.terminal import reporting
from tfrec_attn.data.prepare import add_preparation, options_of, shards_of, summary
from tfrec_attn.data.shards.prepare_with_beam import prepare_with_beam

_EPILOG = (
    "data.key=value as for tfrec_attn.data.prepare; other options go to Beam, such as "
    "--runner DataflowRunner --region europe-west4"
)


@reporting()
def main(arguments: list[str] | None = None) -> int:
    """Runs the command, and returns 0, or 2 for options or data that cannot be used."""
    arguments = sys.argv[1:] if arguments is None else arguments
    overrides = [text for text in arguments if text.startswith("data.") and "=" in text]
    parser = Arguments(
        prog="python -m tfrec_attn.data.pipeline",
        description="Prepares logs with Apache Beam.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--input",
        type=path,
        nargs="+",
        required=True,
        metavar="LOG",
        help="log files in order of time; each is read by one worker",
    )
    parser.add_argument(
        "--work",
        type=path,
        metavar="DIR",
        help="folder that the workers share, such as gs://bucket/folder (default: in DIR.partial)",
    )
    add_preparation(parser)
    parsed, beam_options = parser.parse_known_args(
        [text for text in arguments if text not in overrides]
    )
    data, shards = options_of(overrides), shards_of(parsed.shards)
    manifest = prepare_with_beam(
        parsed.input, parsed.to, data, shards, parsed.work, beam_options, restart=parsed.restart
    )
    sys.stdout.write(f"{summary(manifest, parsed.to)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
