"""A small network on this machine: hosts in network namespaces, and links with delay and loss.

Each host is a network namespace with an address of its own. Its only link is a TUN device. A
process of this program, the switch, carries the packets between the TUN devices after a delay. `tc
netem` could do the same, but many kernels do not have it.
"""

import contextlib
import fcntl
import heapq
import itertools
import os
import random
import select
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_LINK = "wire0"
# Large, so that there are few packets, because the switch shares the cores with the hosts.
_MTU = 65_000
# A TCP window for a whole exchange. With packets of this size it would not grow automatically.
_BUFFERS = "4096 4194304 8388608"
_SETTINGS = {
    "net.ipv4.tcp_rmem": _BUFFERS,
    "net.ipv4.tcp_wmem": _BUFFERS,
    "net.ipv4.tcp_congestion_control": "reno",
    "net.ipv4.tcp_slow_start_after_idle": "0",
}
_NUMBERS = itertools.count()


class Network:
    """Hosts in network namespaces, connected by a switch.

    Args:
        hosts: Number of hosts, at most 9.

    Attributes:
        addresses: IP address of each host.
    """

    def __init__(self, hosts: int):
        self.addresses = [f"10.99.0.{index + 1}" for index in range(hosts)]
        self._names = [f"tfrec-{os.getpid()}-{next(_NUMBERS)}" for _ in range(hosts)]

    def __enter__(self) -> "Network":
        with contextlib.ExitStack() as stack:
            devices = [self._add_host(stack, *host) for host in enumerate(self._names)]
            command = [sys.executable, __file__, *map(str, devices)]
            self._switch = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=devices)
            stack.callback(self._switch.communicate)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()

    def set_link(self, delay: float = 0.0, loss: float = 0.0) -> None:
        """Sets the delay of packets in each direction in seconds, and the share of lost packets."""
        self._switch.stdin.write(f"{delay} {loss}\n".encode())
        self._switch.stdin.flush()

    def command(self, host: int, command: list[str]) -> list[str]:
        """Returns the command line that runs a command on a host."""
        return ["ip", "netns", "exec", self._names[host], *command]

    def cut(self, host: int) -> None:
        """Takes the link of a host down."""
        _ip("-n", self._names[host], "link", "set", _LINK, "down")

    def mend(self, host: int) -> None:
        """Brings the link of a host up again."""
        _ip("-n", self._names[host], "link", "set", _LINK, "up")

    def _add_host(self, stack: contextlib.ExitStack, index: int, name: str) -> int:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        stack.callback(os.close, device)
        link = f"tf{os.getpid() % 10**7}-{name.rsplit('-', 1)[1]}"
        fcntl.ioctl(
            device, _TUNSETIFF, struct.pack("16sH22x", link.encode(), _IFF_TUN | _IFF_NO_PI)
        )
        _ip("netns", "add", name)
        stack.callback(_ip, "netns", "del", name)
        _ip("link", "set", link, "netns", name)
        _ip("-n", name, "link", "set", link, "name", _LINK, "mtu", str(_MTU))
        _ip("-n", name, "address", "add", f"{self.addresses[index]}/24", "dev", _LINK)
        settings = [f"{key}={value}" for key, value in _SETTINGS.items()]
        _ip("netns", "exec", name, "sysctl", "-qw", *settings)
        for up in (_LINK, "lo"):
            _ip("-n", name, "link", "set", up, "up")
        return device


def why_not() -> str | None:
    """Returns a clause about why this process cannot make a network, or None if it can."""
    if shutil.which("ip") is None:
        return "there is no command ip (the package iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with Network(1):
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", None) or error
        return f"this machine makes no network namespace: {str(detail).strip()}"


def sent_bytes() -> int:
    """Returns the number of bytes that the host of this process has sent so far."""
    with open("/proc/self/net/dev") as stream:
        line = next(line for line in stream if line.strip().startswith(f"{_LINK}:"))
    return int(line.split(":")[1].split()[8])


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)  # noqa: S607


def _switch(devices: list[int]) -> None:
    """Carries packets between the devices until stdin ends.

    The last byte of the destination address is the number of the device, from 1.
    """
    delay, loss, waiting, order = 0.0, 0.0, [], itertools.count()
    while True:
        seconds = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable = select.select([0, *devices], [], [], seconds)[0]
        if 0 in readable:
            lines = os.read(0, 4096).split(b"\n")
            if lines == [b""]:
                return
            delay, loss = map(float, lines[-2].split())
        for packet in itertools.chain(*map(_packets, set(readable) - {0})):
            if not loss or random.random() >= loss:  # noqa: S311
                heapq.heappush(waiting, (time.monotonic() + delay, next(order), packet))
        while waiting and waiting[0][0] <= time.monotonic():
            packet = heapq.heappop(waiting)[2]
            # The packet is lost if the link is down or its queue is full.
            with contextlib.suppress(OSError, IndexError):
                os.write(devices[packet[19] - 1], packet)


def _packets(device: int) -> Iterator[bytes]:
    """Yields IPv4 packets of a device, at most 64, so that other devices do not wait for long."""
    for _ in range(64):
        try:
            packet = os.read(device, _MTU + 64)
        except OSError:
            return
        if len(packet) >= 20 and packet[0] >> 4 == 4:
            yield packet


if __name__ == "__main__":
    _switch(list(map(int, sys.argv[1:])))
