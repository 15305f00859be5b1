"""Turns the reports of Apache Beam engines about failed pipelines into one sentence."""

import re

from tfrec_attn.errors import ConfigError, DataError

_PACKAGE = (
    "the workers have no {module}: give them an environment with this package and its extra beam "
    "(--environment_config, --sdk_container_image), or --environment_type LOOPBACK on this machine"
)
# Reports of Flink, Spark, Prism and Beam's own workers about a lost worker.
_LOST = (
    r"CANCELLED: c(?:lient|all already) cancelled|SDK (?:worker|[Hh]arness).* disconnected"
    r"|UNAVAILABLE|Multiplexer hanging up|Worker .* (?:died|exited)"
)
_VERSIONS = (
    "the workers have another version of a package ({cause}): install the versions of this process "
    "there, and check with pip freeze"
)


def failure(text: str) -> ConfigError | DataError:
    """Makes the error for the report of an engine or a worker."""
    own = re.search(r"tfrec_attn\.errors\.(\w+): (.*)", text)
    if own:
        kind = ConfigError if own[1] == "ConfigError" else DataError
        return kind(without_step(own[2]))
    if "Unable to fetch remote" in text:
        return ConfigError(
            "Beam cannot download this engine: run make engines, and give --flink_job_server_jar "
            ".engines/flink-job-server.jar, --spark_job_server_jar .engines/spark-job-server.jar "
            "or --prism_location .engines/prism, as the runner needs."
        )
    module = re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", text)
    if module:
        return ConfigError(f"{_PACKAGE.format(module=module[1])}.")
    other = re.search(
        r"AttributeError: Can't get (?:local )?attribute .*|unexpected keyword argument .*", text
    )
    if other:
        return ConfigError(f"{_VERSIONS.format(cause=other[0].strip())}.")
    if "No space left on device" in text:
        return DataError(
            "a worker has no space left on its disk, so that nothing was written: free some, or "
            "give --work another folder."
        )
    if re.search(_LOST, text):
        return DataError(
            "a worker ended in the middle, or lost its connection, so that nothing was written: "
            "look for the reason in its log, such as a lack of memory, and give the command again."
        )
    return DataError(
        f"the pipeline failed, and nothing was written: {_cause(text)}; the log of the engine has "
        "the rest."
    )


def _cause(text: str) -> str:
    """The last error of a worker in a report, or the first line of the report."""
    found = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception|Exit): .+", text, re.MULTILINE)
    python = [one for one in found if not one.startswith(("java.", "org."))]
    return (python or found or [text])[-1].strip().splitlines()[0][:300].rstrip(".")


def without_step(text: str) -> str:
    """Returns the text of an error without the name of the pipeline step that Beam appends."""
    return re.sub(r"(\\n)? \[while running .*", "", text, flags=re.DOTALL)
