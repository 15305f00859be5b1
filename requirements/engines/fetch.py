"""Fetches the engines of Apache Beam into a folder: `make engines`.

Flink and Spark are those libraries of Beam that Maven Central has: its job server and an embedded
cluster. Maven checks each file against the checksum of the registry, and this script checks all of
them against the one below. Prism is a Go program, checked against Go's checksum database.
"""

import hashlib
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Main class of the job server, and SHA-256 of the lines "SHA-256  NAME" of its jars by name.
JOB_SERVERS = {
    "flink": (
        "org.apache.beam.runners.flink.FlinkJobServerDriver",
        "d683240a3a15aea8c691ca62f02567eb467471f5881125b7ffc4caa84ecb70d2",
    ),
    "spark": (
        "org.apache.beam.runners.spark.SparkJobServerDriver",
        "52e064b9b9b1b9aa9456b2aa2ef33b90f67cef623783bfad983fae7604a23b61",
    ),
}
PRISM = "github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0"
# What the engines reach into from Java 17 on.
_OPENS = (
    "java.base/java.io java.base/java.lang java.base/java.lang.invoke java.base/java.lang.reflect "
    "java.base/java.net java.base/java.nio java.base/java.time java.base/java.util "
    "java.base/java.util.concurrent java.base/java.util.concurrent.atomic java.base/sun.nio.ch "
    "java.base/sun.nio.cs java.base/sun.security.action java.base/sun.util.calendar"
)


def main(folder: str) -> int:
    """Fetches what is not there yet; returns 0, also where an engine cannot be had."""
    into = Path(folder)
    for name in JOB_SERVERS:
        report(f"{name}-job-server.jar", into, lambda name=name: job_server(name, into))
    report("prism", into, lambda: prism(into))
    return 0


def report(file: str, into: Path, fetch) -> None:
    """Fetches a file unless it is there, and prints a sentence about it."""
    path = into / file
    try:
        if not path.exists():
            fetch()
        sys.stdout.write(f"{path} is there.\n")
    except (RuntimeError, OSError) as error:
        sys.stdout.write(f"{path} cannot be had: {error}.\n")


def job_server(name: str, into: Path) -> None:
    """Fetches the jars of a job server, and makes a jar that starts it with all of them."""
    main_class, expected = JOB_SERVERS[name]
    run("mvn", "Maven and a Java runtime (17)", [
        "mvn", "-B", "-q", "-C", "-f", str(HERE / f"{name}.xml"), "dependency:copy-dependencies",
        "-DincludeScope=runtime", f"-DoutputDirectory={(into / name).resolve()}",
    ])  # fmt: skip
    jars = sorted((into / name).glob("*.jar"))
    found = sum_of(jars)
    if found != expected:
        shutil.rmtree(into / name)
        raise RuntimeError(
            f"the jars that {name}.xml gave have the checksum {found}, expected {expected}"
        )
    classes = " ".join(f"{name}/{jar.name}" for jar in jars)
    head = {"Main-Class": main_class, "Add-Opens": _OPENS, "Class-Path": classes}
    lines = ["Manifest-Version: 1.0", *(f"{key}: {value}" for key, value in head.items())]
    wrapped = ["\n ".join(textwrap.wrap(line, 70, drop_whitespace=False)) for line in lines]
    part = into / f"{name}-job-server.jar.part"
    with zipfile.ZipFile(part, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "\n".join(wrapped) + "\n")
    part.rename(into / f"{name}-job-server.jar")


def sum_of(jars: list[Path]) -> str:
    """Returns the SHA-256 of all jars together."""
    lines = (f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in jars)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def prism(into: Path) -> None:
    """Builds Prism."""
    into.mkdir(parents=True, exist_ok=True)
    run("go", "Go (1.26)", ["env", f"GOBIN={into.resolve()}", "go", "install", PRISM])


def run(program: str, needs: str, command: list[str]) -> None:
    """Runs a command that needs a program."""
    if not shutil.which(program):
        raise RuntimeError(f"there is no {program}, install {needs}")
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise RuntimeError(f"{program} failed: {lines[0][:300] if lines else done.returncode}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
