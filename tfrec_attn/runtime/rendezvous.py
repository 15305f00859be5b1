"""Lets the processes of a cluster meet before TensorFlow connects them.

TensorFlow itself waits for missing processes without a message.
"""

import contextlib
import json
import socket
import time
from collections.abc import Iterator, Mapping

from tfrec_attn.errors import ConfigError, TrainingError
from tfrec_attn.runtime.cluster import Task, host_and_port, is_reachable

_MAX_BYTES = 1 << 16
_MESSAGE_TIMEOUT = 5.0
_CLOCK_TOLERANCE = 60.0


def meet(task: Task, facts: Mapping[str, str], seconds: float) -> list[str]:
    """Waits for all processes of a cluster, and checks that their facts agree.

    The first task listens at its address. Each other task sends its facts to the first task, which
    responds to all of them when the last one has connected.

    Args:
        task: Task of this process.
        facts: Values by name that must be the same in all processes.
        seconds: Seconds to wait.

    Returns:
        In the first task, notes on harmless differences; in the other tasks, [].

    Raises:
        ConfigError: If two processes have different facts, or the port is in use.
        TrainingError: If a process does not connect in time.
    """
    deadline = time.monotonic() + seconds
    if not task.is_chief:
        _report(task, facts, deadline, seconds)
        return []
    with contextlib.ExitStack() as stack:
        came = {}
        for name, message, connection in _arrivals(stack, task, deadline, seconds):
            came[name] = message, connection
            if len(came) == len(task.others()):
                break
        differences = (_difference(task, facts, one, came[one][0]) for one in sorted(came))
        error = next(filter(None, differences), None)
        for _, connection in came.values():
            with contextlib.suppress(OSError):
                connection.sendall(f"{json.dumps({'error': error})}\n".encode())
    if error:
        raise ConfigError(error)
    return [note for one in sorted(came) if (note := _clock(one, came[one][0]["clock"]))]


def _arrivals(
    stack: contextlib.ExitStack, task: Task, deadline: float, seconds: float
) -> Iterator[tuple[str, dict, socket.socket]]:
    """Yields (name, message, connection) of each task that connects."""
    missing = task.others()
    if not missing:
        return
    server = stack.enter_context(_listen(task.chief_address))
    while True:
        server.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            connection = stack.enter_context(server.accept()[0])
        except TimeoutError:
            absent = ", ".join(f"{name} ({address})" for name, address in missing.items())
            raise TrainingError(
                f"{absent} of the cluster did not come within {seconds:.0f} s; start "
                "the process there, or check the addresses in TF_CONFIG."
            ) from None
        message = _receive(connection, min(deadline, time.monotonic() + _MESSAGE_TIMEOUT))
        name = message.get("task") if message else None
        if name in [*task.others()] and isinstance(message.get("clock"), float):
            missing.pop(name, None)
            yield name, {**message, "clock": message["clock"] - time.time()}, connection
        else:  # Another program, such as a probe of the port.
            connection.close()


def _report(task: Task, facts: Mapping[str, str], deadline: float, seconds: float) -> None:
    """Sends the facts to the first task, and waits for its response."""
    name = f"{task.job} {task.index}"
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(host_and_port(task.chief_address), timeout=2.0) as connection,
        ):
            message = {"task": name, "facts": dict(facts), "clock": time.time()}
            connection.sendall(f"{json.dumps(message)}\n".encode())
            answer = _receive(connection, deadline)
            if answer is not None and "error" in answer:
                if answer["error"]:
                    raise ConfigError(str(answer["error"]))
                return
        if time.monotonic() > deadline:
            raise TrainingError(
                f"the first task of the cluster does not answer at {task.chief_address} within "
                f"{seconds:.0f} s; start all processes again, or check the address in TF_CONFIG."
            )
        time.sleep(0.2)


def _receive(connection: socket.socket, deadline: float) -> dict | None:
    """The JSON object in the next line, or None if the line is something else."""
    line = b""
    try:
        while not line.endswith(b"\n") and len(line) < _MAX_BYTES:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            part = connection.recv(_MAX_BYTES)
            if not part:
                return None
            line += part
        found = json.loads(line)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _listen(address: str) -> socket.socket:
    """Listens at an address, or on all interfaces if the host is not an address of this machine."""
    host, port = host_and_port(address)
    # The port can be occupied by connections of an earlier cluster that a lost host did not close.
    shared = not is_reachable(f"127.0.0.1:{port}") and not is_reachable(address)
    for name in (host, ""):
        try:
            family = socket.AF_INET6 if ":" in name else socket.AF_INET
            return socket.create_server((name, port), family=family, reuse_port=shared)
        except OSError as error:
            reason = error.strerror or error
    raise ConfigError(
        f"the first task cannot listen at its address {address} of TF_CONFIG: {reason}; "
        "choose a free port."
    )


def _difference(task: Task, facts: Mapping[str, str], name: str, message: dict) -> str | None:
    """A sentence about the first fact in which another task differs, or None."""
    own, others = f"{task.job} {task.index}", message.get("facts")
    others = others if isinstance(others, dict) else {}
    for key in dict.fromkeys((*facts, *others)):
        here, there = facts.get(key), others.get(key)
        if here != there:
            return (
                f"all processes of the cluster need the same {key}, but {own} has {here} and "
                f"{name} has {there}; install the same packages, and give the same arguments and "
                "log to all."
            )
    return None


def _clock(name: str, offset: float) -> str | None:
    if abs(offset) < _CLOCK_TOLERANCE:
        return None
    return (
        f"The clock of {name} is {abs(offset):,.0f} s {'ahead' if offset > 0 else 'behind'}: "
        "training does not depend on it, but set it, for what is logged there."
    )
